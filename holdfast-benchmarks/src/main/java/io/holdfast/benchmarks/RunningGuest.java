package io.holdfast.benchmarks;

import io.holdfast.linux.Fd;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * A test guest that an agent runs, with its disk, its memory and the witness of its console. One
 * thread at a time.
 */
public final class RunningGuest implements AutoCloseable {
  private static final Duration BOOT = Duration.ofMinutes(5);
  private static final long POLL_MILLIS = 20;

  private final VarlinkClient agent;
  private final String name;
  private final Path disk;
  private final Path console;
  private final JsonObject state;
  private final Witness witness = new Witness();
  private final Fd memory;
  private final Duration bootTime;

  private RunningGuest(VarlinkClient agent, String name, Path directory, JsonObject definition) {
    this.agent = agent;
    this.name = name;
    this.disk = directory.resolve(name + ".qcow2");
    this.console = directory.resolve(name + ".console");
    image(disk);
    long started = System.nanoTime();
    this.state =
        agent.call("io.holdfast.Vm.Run", JsonObject.of("definition", definition)).object("vm");
    try {
      // A name of our own for the log, as the agent's may go with the VM.
      Files.createLink(console, Path.of(state.string("consoleLog")));
    } catch (IOException e) {
      throw new UncheckedIOException("linking the console's log to " + console, e);
    }
    awaitReady(started);
    this.bootTime = Duration.ofNanos(System.nanoTime() - started);
    try (Reply reply =
        agent.call("io.holdfast.Vm.Memory", JsonObject.of("name", name), List.of())) {
      this.memory =
          reply.descriptors().take(Math.toIntExact(reply.parameters().number("descriptor")));
    }
  }

  /**
   * Starts a guest and waits until it says that it is ready.
   *
   * @param agent borrowed for as long as the guest runs
   * @param name the VM's
   * @param directory an existing one, on the agent's run directory's file system, for the disk
   * @param qemu the binary to begin with; the agent's choice when empty
   * @param cpu its CPU model; the agent's choice when empty
   * @throws IllegalStateException if it isn't ready in time, with what its console said
   * @throws io.holdfast.varlink.VarlinkException if the agent refuses
   */
  public static RunningGuest start(
      VarlinkClient agent,
      String name,
      Path directory,
      Optional<String> qemu,
      Optional<String> cpu,
      long bytes,
      int cpus) {
    JsonObject more = JsonObject.of("qemu", qemu, "memory", bytes, "cpus", cpus, "cpu", cpu);
    return start(agent, name, directory, more);
  }

  /**
   * Starts a guest of one CPU and 256 MiB and waits until it says that it is ready; see the other
   * one.
   *
   * @param more of the VM's {@code Definition}, in place of what a guest has unless told otherwise
   */
  public static RunningGuest start(
      VarlinkClient agent, String name, Path directory, JsonObject more) {
    GuestImage image = GuestImage.find();
    JsonObject definition =
        JsonObject.of(
            "name",
            name,
            "memory",
            256L << 20,
            "cpus",
            1,
            "kernel",
            image.kernel().toString(),
            "initrd",
            image.initramfs().toString(),
            "append",
            GuestImage.append(),
            "disks",
            List.of(
                JsonObject.of(
                    "path",
                    directory.resolve(name + ".qcow2").toAbsolutePath().toString(),
                    "format",
                    "qcow2")),
            "extra",
            List.of());
    for (String key : more.keys()) {
      definition = definition.with(key, more.get(key).orElseThrow());
    }
    return new RunningGuest(agent, name, directory, definition);
  }

  /** Makes an empty qcow2 image for a guest. */
  static void image(Path path) {
    List<String> command =
        List.of("qemu-img", "create", "-q", "-f", "qcow2", path.toString(), "" + GuestImage.DISK);
    try {
      Process create = new ProcessBuilder(command).redirectErrorStream(true).start();
      String said = new String(create.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      if (create.waitFor() != 0) {
        throw new IOException(String.join(" ", command) + ": " + said.strip());
      }
    } catch (IOException e) {
      throw new UncheckedIOException("making a disk image (package qemu-utils has qemu-img)", e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while qemu-img made " + path, e);
    }
  }

  private void awaitReady(long started) {
    while (!witness.ready()) {
      if (System.nanoTime() - started > BOOT.toNanos()) {
        throw new IllegalStateException(
            "the guest was not ready after %d s; its console: %s"
                .formatted(BOOT.toSeconds(), console));
      }
      pause(POLL_MILLIS);
      witness.follow(console);
    }
  }

  /** Sleeps. */
  static void pause(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  /** Its VM's name. */
  public String name() {
    return name;
  }

  /** What the agent said of the VM when it had started it ({@code State} of io.holdfast.Vm). */
  public JsonObject state() {
    return state;
  }

  /** What the agent says of it now. */
  public JsonObject show() {
    return agent.call("io.holdfast.Vm.Show", JsonObject.of("name", name)).object("vm");
  }

  /** From its start to the ready line. */
  public Duration bootTime() {
    return bootTime;
  }

  /** Its RAM, still this object's. */
  public Fd memory() {
    return memory;
  }

  /** The boot id that its console told. */
  public long boot() {
    return witness.boot();
  }

  /** The witness, after it has read the console up to now. */
  public Witness witness() {
    witness.follow(console);
    return witness;
  }

  /**
   * Updates its VMM.
   *
   * @param qemu the binary to go to; the same when empty
   * @param progress gets each {@code Progress} of io.holdfast.Update
   * @return the {@code Report}, whatever the outcome
   * @throws io.holdfast.varlink.VarlinkException if the agent refuses the call
   */
  public JsonObject update(Optional<String> qemu, Consumer<JsonObject> progress) {
    JsonObject[] report = {JsonObject.empty()};
    agent.callMore(
        "io.holdfast.Update.Vmm",
        JsonObject.of("name", name, "qemu", qemu),
        List.of(),
        reply -> {
          reply.parameters().optionalObject("progress").ifPresent(progress);
          reply.parameters().optionalObject("report").ifPresent(r -> report[0] = r);
        });
    return report[0];
  }

  /**
   * Stops the VM and compares its disk with what its console told.
   *
   * @param safe the last record that the guest knew to be on its disk
   */
  public ChainCheck stopAndCheckDisk(long safe) {
    JsonObject _ = agent.call("io.holdfast.Vm.Stop", JsonObject.of("name", name));
    Path raw = disk.resolveSibling(name + ".raw");
    try {
      Witness.rawCopy(disk, raw);
      return witness().disk(raw, safe);
    } finally {
      try {
        Files.deleteIfExists(raw);
      } catch (IOException e) {
        raw.toFile().deleteOnExit();
      }
    }
  }

  /** Lets go of the memory; the VM is the agent's. */
  @Override
  public void close() {
    memory.close();
  }
}
