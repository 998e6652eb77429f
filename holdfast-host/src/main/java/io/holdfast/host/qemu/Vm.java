package io.holdfast.host.qemu;

import io.holdfast.core.Box;
import io.holdfast.core.Entry;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * A VM: what its guest was promised, the box with its memory, and the QEMU process that runs it
 * now.
 *
 * <p>Its record in its directory says who runs it, so that another agent finds it again. The box
 * owns its descriptors: {@code ram}, and {@code kernel} and {@code initrd} where it has them, which
 * stay the same files even when others take their names.
 */
public final class Vm implements AutoCloseable {
  private final Promise promise;
  private final Box box;
  private final Path directory;
  private int generation;
  private QemuProcess process;
  private Optional<String> lost = Optional.empty();

  private Vm(Promise promise, Box box, Path directory, int generation, QemuProcess process) {
    this.promise = promise;
    this.box = box;
    this.directory = directory;
    this.generation = generation;
    this.process = process;
  }

  /**
   * Starts a VM. Its record is written before this returns.
   *
   * @param box with its descriptors; owned by the VM if this returns, by the caller if it throws
   * @param directory the VM's own, existing
   * @throws IOException if QEMU does not come up; nothing but the directory is left then
   */
  public static Vm start(Linux linux, QemuBinary binary, Promise promise, Box box, Path directory)
      throws IOException {
    int first = 1;
    QemuProcess process =
        QemuProcess.start(
            linux,
            binary,
            promise,
            generationDirectory(directory, first),
            consoleLog(directory),
            inherited(box),
            false);
    try {
      Vm vm = new Vm(promise, box, directory, first, process);
      vm.writeRecord();
      return vm;
    } catch (IOException e) {
      process.end();
      throw e;
    }
  }

  /**
   * Finds a VM again that another agent started.
   *
   * @param box with its descriptors, owned by the VM from now on
   */
  public static Vm attach(Linux linux, JsonObject record, Box box, Path directory)
      throws IOException {
    Promise promise = Promise.fromJson(record.object("promise"));
    int generation = Math.toIntExact(record.number("generation"));
    QemuBinary binary = QemuBinary.fromJson(record.object("binary"));
    QemuProcess.Identity identity = QemuProcess.Identity.parse(record.string("process"));
    QemuProcess process =
        QemuProcess.attach(
            linux,
            identity,
            binary,
            generationDirectory(directory, generation),
            "QEMU of " + promise.name());
    return new Vm(promise, box, directory, generation, process);
  }

  /** Reads a VM's record, empty if there is none: the VM never came up. */
  public static Optional<JsonObject> readRecord(Path directory) throws IOException {
    Path record = directory.resolve("vm.json");
    return Files.exists(record)
        ? Optional.of(Json.parse(Files.readAllBytes(record)))
        : Optional.empty();
  }

  /** What its guest was promised. */
  public Promise promise() {
    return promise;
  }

  /** Its descriptors. */
  public Box box() {
    return box;
  }

  /** The VM's directory on the host. */
  public Path directory() {
    return directory;
  }

  /** Which generation of QEMU runs it: 1 at first, one more after each update. */
  public synchronized int generation() {
    return generation;
  }

  /** The process that runs it. */
  public synchronized QemuProcess process() {
    return process;
  }

  /** What its serial console has said. */
  public Path consoleLog() {
    return consoleLog(directory);
  }

  /** Guest RAM, borrowed. */
  public Fd ram() {
    Fd ram = inherited(box).get(CommandLine.RAM);
    if (ram == null) {
      throw new IllegalStateException(
          "VM " + promise.name() + " has no memory: its box holds " + box.entries().keySet());
    }
    return ram;
  }

  /** From now on this process runs it; the record is written before this returns. */
  synchronized void becomes(int newGeneration, QemuProcess successor) throws IOException {
    generation = newGeneration;
    process = successor;
    writeRecord();
  }

  /** Whether its guest runs at this moment; false too if QEMU does not say. */
  public boolean running() {
    try {
      return process().status().equals("running");
    } catch (QmpException e) {
      return false;
    }
  }

  /**
   * Removes what is left of a VM whose agent died while it started it: a QEMU that nobody was told
   * of, and its names.
   */
  public static void removeHalfStarted(Linux linux, Path directory) throws IOException {
    Path first = generationDirectory(directory, 1);
    QemuProcess.endUnknown(linux, first);
    Files.deleteIfExists(consoleLog(directory));
    Files.deleteIfExists(directory.resolve("vm.json.new"));
    Files.deleteIfExists(directory);
  }

  /** Why nothing runs it any more, if so. */
  public synchronized Optional<String> lost() {
    if (lost.isEmpty() && process.hasExited()) {
      lost =
          Optional.of(
              "its QEMU (process "
                  + process.identity().pid()
                  + ") "
                  + process.exitStatus().map(Object::toString).orElse("ended")
                  + process.said().map(s -> ": " + s).orElse(""));
    }
    return lost;
  }

  private void writeRecord() throws IOException {
    JsonObject record =
        JsonObject.of(
            "promise", promise.toJson(),
            "generation", generation,
            "binary", process.binary().toJson(),
            "process", process.identity().toString());
    Path aside = directory.resolve("vm.json.new");
    Files.write(aside, record.pretty().getBytes(StandardCharsets.UTF_8));
    Files.move(aside, directory.resolve("vm.json"), StandardCopyOption.ATOMIC_MOVE);
  }

  /** Ends the VM: its QEMU is killed, its memory freed, its directory removed. */
  public synchronized void end() throws IOException {
    process.quit();
    box.close();
    Files.deleteIfExists(directory.resolve("vm.json"));
    Files.deleteIfExists(consoleLog());
    Files.deleteIfExists(directory);
  }

  /** Lets go of the VM, which goes on. */
  @Override
  public synchronized void close() {
    process.close();
    box.close();
  }

  static Path generationDirectory(Path directory, int generation) {
    return directory.resolve("generation-" + generation);
  }

  static Path consoleLog(Path directory) {
    return directory.resolve("console.log");
  }

  /** The box's descriptors by the numbers that QEMU gets them under; borrowed. */
  static Map<Integer, Fd> inherited(Box box) {
    Map<Integer, Fd> descriptors = new HashMap<>();
    Map<String, Integer> numbers =
        Map.of("ram", CommandLine.RAM, "kernel", CommandLine.KERNEL, "initrd", CommandLine.INITRD);
    box.entries()
        .forEach(
            (label, entry) -> {
              Integer number = numbers.get(label);
              if (number != null && entry instanceof Entry.Descriptor(Fd fd, _)) {
                descriptors.put(number, fd);
              }
            });
    return descriptors;
  }
}
