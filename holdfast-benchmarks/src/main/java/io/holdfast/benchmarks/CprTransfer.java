package io.holdfast.benchmarks;

import io.holdfast.linux.ChildProcess;
import io.holdfast.linux.ExitStatus;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SpawnRequest;
import io.holdfast.linux.UnixListener;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.qemu.Qmp;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * A test guest whose QEMU is replaced by QEMU's own means, cpr-transfer, as QEMU's documentation
 * says (docs/devel/migration/CPR.rst, "cpr-transfer mode", QEMU 10.0 and newer).
 *
 * <p>Guest RAM lies in a memfd that both QEMUs have inherited, shared and preallocated as Holdfast
 * does it; what else the guest consists of is as in Holdfast's command line, with {@code
 * aux-ram-share=on} added, which cpr-transfer demands. The new QEMU is started first and waits on
 * its CPR channel; then the old one is told to migrate over both channels, sends its state, and the
 * new one runs the guest by itself. The old QEMU quits afterwards. Nobody talks to the new QEMU
 * until the old one is done, so nothing but QEMU determines the pause.
 *
 * <p>One thread at a time.
 */
final class CprTransfer implements AutoCloseable {
  private static final int QMP = 3;
  private static final int RAM = 4;
  private static final Duration PATIENCE = Duration.ofSeconds(60);
  private static final long POLL_MILLIS = 5;

  private final Linux linux;
  private final Path directory;
  private final List<String> machine;
  private final Fd memory;
  private final Witness witness = new Witness();
  private int generation;
  private Running running;

  /**
   * Those that were started and not ended; QEMU is in a session of its own, so Ctrl-C misses it.
   */
  private final Set<ChildProcess> alive = ConcurrentHashMap.newKeySet();

  private final Thread atExit =
      new Thread(() -> alive.forEach(p -> p.pidfd().signal(Signal.KILL)), "end cpr-transfer");

  /** A QEMU process and its control channel. */
  private record Running(ChildProcess process, Qmp qmp) {}

  private CprTransfer(Linux linux, Path directory, List<String> machine, Fd memory)
      throws IOException {
    this.linux = linux;
    this.directory = directory;
    this.machine = machine;
    this.memory = memory;
    Runtime.getRuntime().addShutdownHook(atExit);
    ChildProcess process = spawn(List.of());
    try {
      this.running = new Running(process, connect());
    } catch (IOException | RuntimeException e) {
      end(process);
      throw e;
    }
  }

  private void end(ChildProcess process) {
    boolean _ = process.pidfd().signal(Signal.KILL);
    ExitStatus _ = process.waitFor();
    alive.remove(process);
    process.close();
  }

  /**
   * Boots a guest and waits until it is ready.
   *
   * @param directory an existing one, for the disk, the sockets and the console's log
   * @param qemu a QEMU 10.0 or newer
   * @param machine versioned machine type
   * @param cpu the CPU with its properties
   * @param accelerator kvm or tcg
   * @throws IOException if QEMU does not come up, with what it said
   * @throws IllegalStateException if the guest is not ready in time
   */
  static CprTransfer start(
      Linux linux,
      Path directory,
      String qemu,
      String machine,
      String cpu,
      String accelerator,
      long bytes,
      int cpus)
      throws IOException {
    GuestImage image = GuestImage.find();
    Path disk = directory.resolve("cpr.qcow2");
    RunningGuest.image(disk);
    List<String> command =
        List.of(
            qemu,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            machine + ",memory-backend=ram0,usb=off,vmport=off,aux-ram-share=on",
            "-accel",
            accelerator.equals("tcg") ? "tcg,thread=multi" : accelerator,
            "-cpu",
            cpu,
            "-smp",
            Integer.toString(cpus),
            "-m",
            "size=" + bytes / 1024 + "k",
            "-object",
            "memory-backend-file,id=ram0,size=%d,mem-path=/proc/self/fd/%d,share=on,prealloc=on"
                .formatted(bytes, RAM),
            "-chardev",
            "socket,id=qmp,fd=" + QMP + ",server=on,wait=off",
            "-mon",
            "chardev=qmp,mode=control",
            "-chardev",
            "file,id=console,append=on,path=" + directory.resolve("cpr.console"),
            "-serial",
            "chardev:console",
            "-kernel",
            image.kernel().toString(),
            "-initrd",
            image.initramfs().toString(),
            "-append",
            GuestImage.append(),
            "-blockdev",
            "driver=file,node-name=disk0-file,filename=" + disk,
            "-blockdev",
            "driver=qcow2,node-name=disk0,file=disk0-file",
            "-device",
            "virtio-blk-pci,id=disk0-device,drive=disk0,addr=0x4");
    Fd memory = linux.memfd("cpr", bytes);
    CprTransfer guest;
    try {
      guest = new CprTransfer(linux, directory, command, memory);
    } catch (IOException | RuntimeException e) {
      memory.close();
      throw e;
    }
    try {
      guest.awaitReady();
      return guest;
    } catch (RuntimeException e) {
      guest.close();
      throw e;
    }
  }

  private void awaitReady() {
    long deadline = System.nanoTime() + PATIENCE.toNanos();
    while (!witness().ready()) {
      if (System.nanoTime() > deadline) {
        throw new IllegalStateException(
            "the guest of cpr-transfer was not ready after " + PATIENCE.toSeconds() + " s");
      }
      RunningGuest.pause(20);
    }
  }

  /** The guest's RAM, still this object's. */
  Fd memory() {
    return memory;
  }

  /** The witness of its console, up to now. */
  Witness witness() {
    Path console = directory.resolve("cpr.console");
    if (Files.exists(console)) {
      witness.follow(console);
    }
    return witness;
  }

  /** The QEMU that runs it now. */
  int pid() {
    return running.process.pid();
  }

  private Path socket(String what) {
    return directory.resolve("cpr-" + what + generation);
  }

  /** Starts a QEMU, whose sockets are those of this generation. */
  private ChildProcess spawn(List<String> incoming) {
    List<String> command = new ArrayList<>(machine);
    command.addAll(incoming);
    try (UnixListener listener = linux.listen(socket("qmp"), 4);
        Fd log =
            linux.open(
                directory.resolve("cpr.log"), OpenFlag.CREATE, OpenFlag.WRITE, OpenFlag.APPEND)) {
      ChildProcess process =
          linux.spawn(
              SpawnRequest.of(command)
                  .withInherited(Map.of(QMP, listener.fd(), RAM, memory))
                  .withOutput(log));
      alive.add(process);
      return process;
    }
  }

  private Qmp connect() throws IOException {
    try {
      return Qmp.connect(linux, socket("qmp"), "QEMU of cpr-transfer", PATIENCE);
    } catch (IOException | RuntimeException e) {
      throw new IOException(
          "QEMU of cpr-transfer did not come up; it said: "
              + Files.readString(directory.resolve("cpr.log")).strip(),
          e);
    }
  }

  /**
   * Replaces the QEMU that runs the guest by another process of the same binary, and returns when
   * that runs it and the old one is gone.
   *
   * @throws IOException if a QEMU refuses; the guest's state is unknown then
   */
  void update() throws IOException {
    Running old = running;
    generation++;
    JsonObject main = JsonObject.of("channel-type", "main", "addr", unix(socket("main")));
    JsonObject cpr = JsonObject.of("channel-type", "cpr", "addr", unix(socket("channel")));
    ChildProcess process =
        spawn(List.of("-incoming", main.toString(), "-incoming", cpr.toString()));
    try {
      awaitChannel(process);
      migrate(old.qmp, List.of(main, cpr));
      running = new Running(process, connect());
    } catch (IOException | RuntimeException e) {
      end(process);
      throw e;
    }
    awaitRunning(running.qmp);
    old.qmp.close();
    end(old.process);
    removeSockets(generation - 1);
  }

  private static void migrate(Qmp qmp, List<JsonObject> channels) throws IOException {
    JsonObject events = JsonObject.of("capability", "events", "state", true);
    JsonObject _ =
        qmp.execute("migrate-set-capabilities", JsonObject.of("capabilities", List.of(events)));
    JsonObject _ = qmp.execute("migrate-set-parameters", JsonObject.of("mode", "cpr-transfer"));
    Qmp.Expectation done = qmp.expectMigration("completed", "failed");
    JsonObject _ = qmp.execute("migrate", JsonObject.of("channels", channels), PATIENCE, List.of());
    String status = done.await(PATIENCE).object("data").string("status");
    if (!status.equals("completed")) {
      throw new IOException("cpr-transfer " + status + ": " + qmp.execute("query-migrate"));
    }
  }

  private void removeSockets(int of) throws IOException {
    for (String what : List.of("qmp", "main", "channel")) {
      Files.deleteIfExists(directory.resolve("cpr-" + what + of));
    }
  }

  private static JsonObject unix(Path path) {
    return JsonObject.of("transport", "socket", "type", "unix", "path", path.toString());
  }

  private void awaitChannel(ChildProcess process) throws IOException {
    Path channel = socket("channel");
    long deadline = System.nanoTime() + PATIENCE.toNanos();
    while (!Files.exists(channel)) {
      Optional<ExitStatus> ended = process.reap();
      if (ended.isPresent() || System.nanoTime() > deadline) {
        throw new IOException(
            "the new QEMU does not listen on its CPR channel; it said: "
                + Files.readString(directory.resolve("cpr.log")).strip());
      }
      RunningGuest.pause(POLL_MILLIS);
    }
  }

  private static void awaitRunning(Qmp qmp) throws IOException {
    long deadline = System.nanoTime() + PATIENCE.toNanos();
    while (!qmp.execute("query-status").object("return").bool("running")) {
      if (System.nanoTime() > deadline) {
        throw new IOException("the new QEMU does not run the guest");
      }
      RunningGuest.pause(POLL_MILLIS);
    }
  }

  /** Ends QEMU. */
  @Override
  public void close() {
    running.qmp.close();
    end(running.process);
    memory.close();
    try {
      boolean _ = Runtime.getRuntime().removeShutdownHook(atExit);
    } catch (IllegalStateException _) {
      // This JVM is exiting; nothing is alive any more.
    }
  }
}
