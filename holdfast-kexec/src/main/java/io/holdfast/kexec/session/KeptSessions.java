package io.holdfast.kexec.session;

import io.holdfast.linux.Fd;
import io.holdfast.store.Keeper;
import java.io.IOException;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Sessions of the previous kernel in the keeper: those that this kernel's agents put there, under
 * {@code @session/NAME}, and those that systemd brought along, under {@code @leaving/BOOT/NAME}.
 *
 * <p>The latter stay under that label. To be stored under another one, a session would have to be
 * out of systemd's store for a moment: it stores an open file once, and a session can't be opened
 * anew.
 *
 * @param boot the id of this boot: what is leaving from it has not arrived
 */
public record KeptSessions(Keeper keeper, String boot) {
  /** What the labels of sessions begin with that this kernel's agents put there. */
  public static final String ARRIVED = "@session/";

  static final String LEAVING = "@leaving/";

  /**
   * Returns those that this boot has.
   *
   * @throws IOException if the boot's id can't be read
   */
  public static KeptSessions of(Keeper keeper) throws IOException {
    return new KeptSessions(keeper, StoredSessions.boot());
  }

  /** The label of a session that is to leave from a boot. */
  static String leaving(String boot, String name) {
    return LEAVING + boot + "/" + name;
  }

  /** Returns all of them by name, each the caller's. */
  public Map<String, Fd> all() {
    Map<String, Fd> all = new HashMap<>();
    for (String name : names()) {
      find(name).ifPresent(fd -> all.put(name, fd));
    }
    return all;
  }

  /** Returns the names of all of them. */
  Set<String> names() {
    Set<String> names = new HashSet<>();
    labels().forEach(label -> names.add(name(label).orElseThrow()));
    return names;
  }

  private Set<String> labels() {
    Set<String> labels = new HashSet<>(keeper.labels(LEAVING));
    labels.addAll(keeper.labels(ARRIVED));
    labels.removeIf(label -> name(label).isEmpty());
    return labels;
  }

  /** The name of a session that has arrived; empty if the label is of something else. */
  Optional<String> name(String label) {
    if (label.startsWith(ARRIVED)) {
      return Optional.of(label.substring(ARRIVED.length()));
    }
    int slash = label.indexOf('/', LEAVING.length());
    return label.startsWith(LEAVING) && slash > 0 && !label.startsWith(leaving(boot, ""))
        ? Optional.of(label.substring(slash + 1))
        : Optional.empty();
  }

  /** Returns one of them, the caller's; empty if it is not there. */
  public Optional<Fd> find(String name) {
    for (String label : labels()) {
      if (name(label).equals(Optional.of(name))) {
        Map<String, Fd> kept = keeper.kept(label);
        Fd found = kept.remove(label);
        kept.values().forEach(Fd::close);
        return Optional.ofNullable(found);
      }
    }
    return Optional.empty();
  }

  /**
   * Puts one there that the kernel has made.
   *
   * @param session borrowed
   * @throws RuntimeException if the keeper can't take it; nothing has changed then
   */
  public void put(String name, Fd session) {
    keeper.keep(ARRIVED + name, session);
  }

  /** Removes one under each of its labels; one that is not there is no error. */
  public void drop(String name) {
    Set<String> labels = labels();
    labels.removeIf(label -> !name(label).equals(Optional.of(name)));
    keeper.drop(labels);
  }
}
