package io.holdfast.vm.device.disk;

import io.holdfast.core.run.Patience;
import io.holdfast.linux.FileIdentity;
import io.holdfast.linux.LastingIdentity;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.StorageCalls;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.qemu.QemuProcess;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Which files a VM's QEMU has opened as images, backing files too, by the paths that it was given.
 * A successor opens those paths again, and they may name other files by then.
 *
 * @param files by path
 */
public record Images(SortedMap<String, Image> files) {
  /** Those of a VM without images. */
  public static final Images NONE = new Images(new TreeMap<>());

  /** How long storage may take to tell which files the images are, while the guest runs. */
  public static final Duration PATIENCE = Patience.of(Duration.ofSeconds(10));

  private static final LateLogger LOG = new LateLogger(Images.class);

  /**
   * A file or block device.
   *
   * @param now of this boot
   * @param lasting what names it on another kernel too; empty if nothing does
   */
  public record Image(FileIdentity now, Optional<LastingIdentity> lasting) {
    /** Reads what names a file for good; waits for its storage. */
    public static Image of(Linux linux, Path path, FileIdentity now) throws IOException {
      return new Image(now, lasting(linux, path, now.device()));
    }

    private static Optional<LastingIdentity> lasting(Linux linux, Path path, long device)
        throws IOException {
      if (!Files.isRegularFile(path)) {
        return BlockDevices.lasting(Path.of("/sys/dev/block"), device);
      }
      if (Storage.ofThisKernel(path)) {
        return Optional.empty();
      }
      try {
        return linux.lastingIdentity(path);
      } catch (SystemCallException e) {
        // The agent may not open what QEMU may, such as a private file on NFS.
        LOG.get().log(System.Logger.Level.DEBUG, "what names " + path + " for good", e);
        return Optional.empty();
      }
    }
  }

  public Images {
    files = Collections.unmodifiableSortedMap(new TreeMap<>(files));
  }

  /**
   * Returns those that a QEMU has open now. One that is known stays what it is, whatever its path
   * names by now; one that was opened since is what its path names, if QEMU has that open.
   *
   * @throws IOException if that can't be told, or storage does not answer within {@link #PATIENCE}
   */
  public Images of(Linux linux, QemuProcess running, StorageCalls storage) throws IOException {
    Set<String> paths = paths(running);
    long pid = running.identity().pid();
    return storage.make("reading " + paths, PATIENCE, () -> of(linux, pid, paths));
  }

  /** As the other; waits for storage. */
  public Images of(Linux linux, long running, Set<String> paths) throws IOException {
    OpenFiles open = OpenFiles.of(running);
    SortedMap<String, Image> found = new TreeMap<>();
    for (String path : paths) {
      Image known = files.get(path);
      if (known != null && open.links().containsKey(known.now())) {
        found.put(path, known);
        continue;
      }
      try {
        Optional<FileIdentity> named = OpenFiles.identity(Path.of(path));
        if (named.isPresent() && open.links().containsKey(named.get())) {
          found.put(path, Image.of(linux, Path.of(path), named.get()));
        }
      } catch (NoSuchFileException e) {
        // Whoever needs the path says so.
      }
    }
    return new Images(found);
  }

  /**
   * Returns the paths that name other files now than those that a process opened by them. Waits for
   * their storage.
   *
   * @param running the process
   * @param paths what {@link #paths} returns of it
   * @throws IOException if that can't be told
   */
  public List<String> replaced(long running, Set<String> paths) throws IOException {
    OpenFiles open = OpenFiles.of(running);
    List<String> replaced = new ArrayList<>();
    for (String path : paths) {
      try {
        Optional<FileIdentity> named = OpenFiles.identity(Path.of(path));
        Optional<FileIdentity> known =
            Optional.ofNullable(files.get(path)).map(Image::now).filter(open.links()::containsKey);
        boolean same =
            known.isPresent()
                ? named.equals(known)
                : named.isEmpty() || open.links().containsKey(named.get());
        if (!same) {
          replaced.add(path);
        }
      } catch (NoSuchFileException e) {
        // Another obstacle, with its own words.
      }
    }
    return replaced;
  }

  /**
   * Returns the paths that name other files now than those of these images, or files that a
   * successor has not opened.
   *
   * @param open what the successor has open
   * @throws IOException if that can't be told
   */
  public List<String> unlike(OpenFiles open) throws IOException {
    List<String> unlike = new ArrayList<>();
    for (Map.Entry<String, Image> each : files.entrySet()) {
      FileIdentity known = each.getValue().now();
      Optional<FileIdentity> named = named(each.getKey());
      if (!named.equals(Optional.of(known)) || !open.links().containsKey(known)) {
        unlike.add(each.getKey());
      }
    }
    return unlike;
  }

  /**
   * Returns the paths that name other files on this kernel than those of these images on the
   * previous one. Of an image without a lasting identity that can't be told.
   *
   * @throws IOException if a path can't be read, or storage does not answer within {@link
   *     #PATIENCE}
   */
  public List<String> othersHere(Linux linux, StorageCalls storage) throws IOException {
    return storage.make(
        "comparing the images with those of the previous kernel",
        PATIENCE,
        () -> othersHere(linux));
  }

  /** As the other; waits for storage. */
  public List<String> othersHere(Linux linux) throws IOException {
    List<String> others = new ArrayList<>();
    for (Map.Entry<String, Image> each : files.entrySet()) {
      Optional<FileIdentity> named = named(each.getKey());
      Path path = Path.of(each.getKey());
      Optional<LastingIdentity> before = each.getValue().lasting();
      boolean same =
          named.isPresent()
              && (before.isEmpty() || Image.of(linux, path, named.get()).lasting().equals(before));
      if (!same) {
        others.add(each.getKey());
      }
    }
    return others;
  }

  /**
   * Does with a file what is done with images after a kexec.
   *
   * @throws IOException if the file can't be read
   */
  public static void rehearse(Linux linux, Path file) throws IOException {
    SortedMap<String, Image> one = new TreeMap<>();
    one.put(file.toString(), Image.of(linux, file, OpenFiles.identity(file).orElseThrow()));
    try (StorageCalls storage = new StorageCalls("rehearsal")) {
      List<String> _ = new Images(one).othersHere(linux, storage);
    }
  }

  /** The paths of images of which another kernel can't tell whether they are the same. */
  public List<String> notLasting() {
    return files.entrySet().stream()
        .filter(each -> each.getValue().lasting().isEmpty())
        .map(Map.Entry::getKey)
        .toList();
  }

  private static Optional<FileIdentity> named(String path) throws IOException {
    try {
      return OpenFiles.identity(Path.of(path));
    } catch (NoSuchFileException e) {
      return Optional.empty();
    }
  }

  /** The paths by which a QEMU opened its images. */
  public static Set<String> paths(QemuProcess running) throws QmpException {
    Set<String> paths = new LinkedHashSet<>();
    for (JsonObject node : nodes(running.qmp())) {
      String driver = node.string("drv");
      String file = node.string("file");
      if (Set.of("file", "host_device", "host_cdrom").contains(driver)
          && !file.startsWith("/dev/fdset/")) {
        paths.add(running.workingDirectory().resolve(file).toString());
      }
    }
    return paths;
  }

  /** The block nodes of a QEMU, each once. */
  public static List<JsonObject> nodes(Qmp qmp) throws QmpException {
    return qmp.execute("query-named-block-nodes", JsonObject.of("flat", true))
        .array("return")
        .objects();
  }

  /** As they are in a VM's record; docs/design.md names the keys. */
  public JsonObject toJson() {
    Map<String, JsonObject> json = new TreeMap<>();
    files.forEach(
        (path, image) ->
            json.put(
                path,
                JsonObject.of(
                    "device", image.now().device(),
                    "inode", image.now().inode(),
                    "fileSystem", image.lasting().map(LastingIdentity::fileSystem),
                    "handle", image.lasting().map(LastingIdentity::handle))));
    return JsonObject.copyOf(json);
  }

  /** Reads what {@link #toJson} wrote. */
  public static Images fromJson(JsonObject json) {
    SortedMap<String, Image> files = new TreeMap<>();
    for (String path : json.keys()) {
      JsonObject image = json.object(path);
      files.put(
          path,
          new Image(
              new FileIdentity(image.number("device"), image.number("inode")),
              image
                  .optionalString("fileSystem")
                  .map(system -> new LastingIdentity(system, image.string("handle")))));
    }
    return new Images(files);
  }
}
