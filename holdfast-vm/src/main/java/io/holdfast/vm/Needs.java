package io.holdfast.vm;

import io.holdfast.linux.Linux;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.device.disk.Images;
import io.holdfast.vm.spec.TapNetwork;
import java.io.IOException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * What a VM's record names that must be on a host before its QEMU can be started there: the QEMU
 * binary, the files of its images, KVM, bridges.
 */
public final class Needs {
  /** Of the host, whatever the root file system is: a chroot gets these bound. */
  private static final List<String> OF_THE_HOST = List.of("dev", "proc", "run", "sys");

  private static final int MOST_LINKS = 40;

  private Needs() {}

  /**
   * Returns what is missing. Reads only.
   *
   * @param record as {@link Vm#readRecord} returns it
   * @param root the root file system that the agent is to run on
   * @return a sentence without a full stop each; empty if all of it is there
   * @throws IOException if the record or a file cannot be read
   */
  public static List<String> missing(Linux linux, JsonObject record, Path root) throws IOException {
    List<String> missing = new ArrayList<>();
    String under = root.equals(root.getRoot()) ? "" : " under " + root;
    try {
      String binary = record.object("binary").string("path");
      Path qemu = resolve(root, binary);
      if (!Files.exists(qemu)) {
        missing.add("QEMU " + binary + " does not exist" + under + " (ENOENT)");
      } else if (!Files.isExecutable(qemu)) {
        missing.add("QEMU " + binary + under + " is not executable (EACCES)");
      }
      Images images = record.optionalObject("images").map(Images::fromJson).orElse(Images.NONE);
      for (String path : images.files().keySet()) {
        if (!Files.exists(resolve(root, path))) {
          missing.add("image " + path + " does not exist" + under + " (ENOENT)");
        }
      }
      if (under.isEmpty()) {
        for (String path : images.othersHere(linux)) {
          if (Files.exists(Path.of(path))) {
            missing.add("image " + path + " is not the file that it was on the previous kernel");
          }
        }
      }
      JsonObject vm = record.object("promise");
      if (vm.string("accelerator").equals("kvm") && !Files.exists(Path.of("/dev/kvm"))) {
        missing.add("KVM: /dev/kvm does not exist (ENOENT)");
      }
      for (JsonObject device : vm.array("devices").objects()) {
        if (device.string("kind").equals(TapNetwork.KIND)) {
          String bridge = device.string("bridge");
          if (!Files.exists(Path.of("/sys/class/net", bridge))) {
            missing.add("bridge " + bridge + " does not exist");
          }
        }
      }
    } catch (JsonException e) {
      throw new IOException("the VM's record is damaged: " + e.getMessage(), e);
    }
    return missing;
  }

  /**
   * Returns the file that an absolute path names for a process whose root is {@code root}: symbolic
   * links stay below it.
   *
   * @throws IOException if there are too many links
   */
  static Path resolve(Path root, String path) throws IOException {
    if (root.equals(root.getRoot())) {
      return Path.of(path);
    }
    Deque<Path> rest = new ArrayDeque<>();
    Path.of(path).normalize().forEach(rest::add);
    if (!rest.isEmpty() && OF_THE_HOST.contains(rest.getFirst().toString())) {
      return Path.of(path);
    }
    Path at = root;
    int links = 0;
    while (!rest.isEmpty()) {
      Path name = rest.removeFirst();
      if (name.toString().equals("..")) {
        Path up = at.getParent();
        at = at.equals(root) || up == null ? root : up;
        continue;
      }
      Path next = at.resolve(name);
      if (!Files.isSymbolicLink(next)) {
        at = next;
        continue;
      }
      if (++links > MOST_LINKS) {
        throw new FileSystemException(path, root.toString(), "too many symbolic links (ELOOP)");
      }
      Path target = Files.readSymbolicLink(next);
      List<Path> names = new ArrayList<>();
      target.forEach(names::add);
      names.reversed().forEach(rest::addFirst);
      if (target.isAbsolute()) {
        at = root;
      }
    }
    return at;
  }
}
