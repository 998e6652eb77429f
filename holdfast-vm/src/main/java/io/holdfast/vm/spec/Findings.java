package io.holdfast.vm.spec;

import io.holdfast.core.participant.Obstacle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a plan has found out so far. */
public final class Findings {
  private final List<String> preserved = new ArrayList<>();
  private final List<Obstacle> obstacles = new ArrayList<>();
  private final List<String> losses = new ArrayList<>();
  private final List<String> risks = new ArrayList<>();

  /** What each image is, by path. */
  private final Map<String, String> images = new LinkedHashMap<>();

  /** Nothing is found out yet. */
  public Findings() {}

  /** Something crosses to the successor. */
  public void preserved(String what) {
    preserved.add(what);
  }

  /** Something is in the way: the update is refused. */
  public void obstacle(String what, String why, String advice) {
    obstacles.add(new Obstacle(what, why, advice));
  }

  /** As {@link #obstacle(String, String, String)}. */
  public void obstacle(Obstacle obstacle) {
    obstacles.add(obstacle);
  }

  /** Adds an image file, which {@link #missing} checks. */
  void image(String what, String path) {
    preserved(what + " " + path + " stays the same file");
    images.put(path, what);
  }

  /** Returns the obstacles of images that are not there. Waits for their storage. */
  public List<Obstacle> missing() {
    return images.entrySet().stream()
        .filter(image -> !Files.isReadable(Path.of(image.getKey())))
        .map(
            image ->
                new Obstacle(
                    image.getValue() + " " + image.getKey(),
                    "the image is not there any more",
                    "Put it back under its name."))
        .toList();
  }

  /** Something does not survive, though the guest goes on. */
  public void loss(String what) {
    losses.add(what);
  }

  /** Something that could make the update fail, which is then cancelled. */
  public void risk(String what) {
    risks.add(what);
  }

  /** What survives, for people; what is found later is in it, too. */
  public List<String> preserved() {
    return preserved;
  }

  /** What refuses the update; likewise. */
  public List<Obstacle> obstacles() {
    return obstacles;
  }

  /** What does not survive; likewise. */
  public List<String> losses() {
    return losses;
  }

  /** What could make the update fail; likewise. */
  public List<String> risks() {
    return risks;
  }
}
