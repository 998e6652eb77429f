package io.holdfast.vm.probe;

import io.holdfast.linux.Fd;
import io.holdfast.linux.FdPair;
import io.holdfast.linux.SocketType;
import io.holdfast.linux.SystemCallException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.qemu.Correction;
import io.holdfast.vm.qemu.Launch;
import io.holdfast.vm.qemu.Layout;
import io.holdfast.vm.qemu.MigrationSettings;
import io.holdfast.vm.qemu.QemuProcess;
import io.holdfast.vm.qemu.QemuUnusableException;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/**
 * Proves that one QEMU understands another's device state for a VM, before its guest is touched: a
 * machine that never ran is made by the old binary from the VM's own command line ({@link
 * TrialMachine}), compared with that of the new binary, saved, and loaded there. Its RAM is a memfd
 * without pages, so it costs the same at any size.
 *
 * <p>What it can't show is a section that only a device in use sends.
 *
 * <p>What passed is remembered for the binaries' files and the command line, for as long as this
 * object lives. A failure is not: its cause may be mended in place.
 */
public final class Trials {
  private static final Duration LOAD = Duration.ofSeconds(10);
  private static final Duration TURN = Duration.ofSeconds(20);
  private static final String OUT = "holdfast-out";
  private static final String IN = "holdfast-in";

  /** How often a machine is corrected; the second time is for what the first one brought up. */
  private static final int CORRECTIONS = 2;

  private final Launch launch;
  private final Map<Key, List<Correction>> passed = new ConcurrentHashMap<>();

  /** More at once than processors only make each of them later. */
  private final Semaphore turns =
      new Semaphore(Math.max(1, Runtime.getRuntime().availableProcessors()), true);

  private record Key(BinaryIdentity from, BinaryIdentity to, List<String> machine, long memory) {}

  Trials(Launch launch) {
    this.launch = launch;
  }

  /** What came of a trial. */
  public sealed interface Outcome {
    /**
     * The new binary takes the machine over.
     *
     * @param corrections what the successor's command line needs for it
     * @param cost how long the trial took; zero if it was remembered
     */
    record Passed(List<Correction> corrections, Duration cost) implements Outcome {
      public Passed {
        corrections = List.copyOf(corrections);
      }
    }

    /**
     * The new binary does not take it over.
     *
     * @param why in QEMU's own words, or what differs
     */
    record Failed(String why) implements Outcome {}

    /** It could not be tried, which says nothing about the update. */
    record Untried(String why) implements Outcome {}
  }

  /**
   * Tries it.
   *
   * @param from path of the binary that runs the VM
   * @param to path of the binary that is to run it
   * @param spec what the guest has
   * @param inherited descriptors that the command line may need besides RAM, by label; borrowed
   * @param sizes of its block nodes in bytes, by name, as far as they are known
   */
  public Outcome of(
      String from, String to, VmSpec spec, Map<String, Fd> inherited, Map<String, Long> sizes) {
    List<String> machine;
    try {
      machine = TrialMachine.of(spec.arguments(), sizes);
    } catch (IllegalArgumentException e) {
      return new Outcome.Untried(String.valueOf(e.getMessage()));
    }
    Key key;
    try {
      key = new Key(BinaryIdentity.of(from), BinaryIdentity.of(to), machine, spec.memory());
    } catch (QemuUnusableException e) {
      return new Outcome.Untried(String.valueOf(e.getMessage()));
    }
    List<Correction> known = passed.get(key);
    if (known != null) {
      return new Outcome.Passed(known, Duration.ZERO);
    }
    boolean turn = false;
    try {
      turn = turns.tryAcquire(TURN.toMillis(), TimeUnit.MILLISECONDS);
      if (!turn) {
        return new Outcome.Untried(
            "other trials took longer than " + TURN.toSeconds() + " s; try again");
      }
      long began = System.nanoTime();
      Outcome outcome = run(from, to, spec, machine, inherited, began);
      if (outcome instanceof Outcome.Passed(var corrections, _)) {
        passed.put(key, corrections);
      }
      return outcome;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return new Outcome.Untried("interrupted");
    } finally {
      if (turn) {
        turns.release();
      }
    }
  }

  private Outcome run(
      String from,
      String to,
      VmSpec spec,
      List<String> machine,
      Map<String, Fd> inherited,
      long began) {
    try (Fd ram = launch.linux().memfd("trial", spec.memory())) {
      Map<String, Fd> descriptors = new HashMap<>();
      descriptors.put(CommandLine.RAM, ram);
      for (String label : TrialMachine.labels(machine)) {
        Fd fd = inherited.get(label);
        if (fd != null) {
          descriptors.putIfAbsent(label, fd);
        } else if (!descriptors.containsKey(label)) {
          return new Outcome.Untried("its command line needs descriptor " + label);
        }
      }
      try (ExpendableQemu old = start(from, machine, descriptors, List.of())) {
        return with(old, to, machine, descriptors, began);
      }
    } catch (QemuUnusableException e) {
      // The binary that runs the VM: a library of it may have gone with the upgrade.
      return new Outcome.Untried(from + " does not start any more: " + e.reason());
    } catch (SystemCallException e) {
      return new Outcome.Untried(String.valueOf(e.getMessage()));
    }
  }

  private ExpendableQemu start(
      String program, List<String> machine, Map<String, Fd> descriptors, List<String> more)
      throws QemuUnusableException {
    Map<String, Integer> numbers = CommandLine.numbers(descriptors);
    Map<Integer, Fd> inherited = new HashMap<>();
    descriptors.forEach((label, fd) -> inherited.put(numbers.get(label), fd));
    List<String> arguments = new ArrayList<>(CommandLine.filled(machine, numbers));
    arguments.addAll(more);
    return ExpendableQemu.start(launch, program, arguments, inherited);
  }

  private Outcome with(
      ExpendableQemu old,
      String to,
      List<String> machine,
      Map<String, Fd> descriptors,
      long began) {
    List<Correction> corrections = new ArrayList<>();
    List<String> differences = List.of();
    for (int i = 0; ; i++) {
      try (ExpendableQemu next =
          start(
              to,
              Correction.apply(corrections, machine),
              descriptors,
              List.of("-incoming", "defer"))) {
        Layout here = Layout.of(old.qmp(), Path.of("/"));
        Layout there = Layout.of(next.qmp(), Path.of("/"));
        differences = here.differences(there);
        if (differences.isEmpty()) {
          return cross(old, next, corrections, began);
        }
        List<Correction> more = Correction.between(here, there);
        if (more.isEmpty() || i == CORRECTIONS) {
          return new Outcome.Failed(
              "its machine is not the guest's: " + String.join("; ", differences));
        }
        corrections.addAll(more);
      } catch (QemuUnusableException e) {
        return new Outcome.Failed(
            differences.isEmpty()
                ? "it does not come up with this machine: " + e.reason()
                : "its machine is not the guest's: "
                    + String.join("; ", differences)
                    + "; and it does not come up with what would correct that: "
                    + e.reason());
      } catch (QmpException e) {
        return unanswered(e);
      }
    }
  }

  private static Outcome unanswered(QmpException e) {
    // One that ends over a question would do so in the update, too; one that is slow may be so now.
    return e.errorClass().equals("Closed")
        ? new Outcome.Failed(String.valueOf(e.getMessage()))
        : new Outcome.Untried(String.valueOf(e.getMessage()));
  }

  /** Saves in one, loads in the other. */
  private Outcome cross(
      ExpendableQemu old, ExpendableQemu next, List<Correction> corrections, long began) {
    try (FdPair pair = launch.linux().socketPair(SocketType.STREAM)) {
      for (ExpendableQemu each : List.of(old, next)) {
        MigrationSettings.of(each.qmp()).replace(each.qmp());
      }
      give(old, OUT, pair.left());
      give(next, IN, pair.right());
      pair.left().close();
      pair.right().close();
      Qmp.Expectation saved = old.qmp().expectMigration("completed", "failed");
      Qmp.Expectation loaded = next.qmp().expectMigration("completed", "failed");
      var _ = next.qmp().execute("migrate-incoming", JsonObject.of("uri", "fd:" + IN));
      var _ = old.qmp().execute("migrate", JsonObject.of("uri", "fd:" + OUT));
      JsonObject end = loaded.await(LOAD);
      if (!status(end).equals("completed")) {
        return new Outcome.Failed(next.said("the load failed without a word"));
      }
      JsonObject sent = saved.await(LOAD);
      return status(sent).equals("completed")
          ? new Outcome.Passed(corrections, Duration.ofNanos(System.nanoTime() - began))
          : new Outcome.Failed("the old QEMU could not save it: " + old.said("without a word"));
    } catch (QmpException e) {
      if (e.errorClass().equals("Closed")) {
        return new Outcome.Failed(next.said(String.valueOf(e.getMessage())));
      }
      return unanswered(e);
    }
  }

  private static String status(JsonObject event) {
    return event.object("data").string("status");
  }

  private static void give(ExpendableQemu to, String name, Fd fd) throws QmpException {
    var _ = to.qmp().execute("getfd", JsonObject.of("fdname", name), Qmp.COMMAND, List.of(fd));
  }

  /** The sizes of a QEMU's block nodes and drives in bytes, by name. */
  public static Map<String, Long> sizes(Qmp qmp) throws QmpException {
    Map<String, Long> sizes = new LinkedHashMap<>();
    for (JsonObject node :
        qmp.execute("query-named-block-nodes", JsonObject.of("flat", true))
            .array("return")
            .objects()) {
      node.optionalObject("image")
          .ifPresent(image -> sizes.put(node.string("node-name"), image.number("virtual-size")));
    }
    for (JsonObject drive : qmp.execute("query-block").array("return").objects()) {
      drive
          .optionalObject("inserted")
          .flatMap(inserted -> inserted.optionalObject("image"))
          .ifPresent(image -> sizes.put(drive.string("device"), image.number("virtual-size")));
    }
    return sizes;
  }

  /**
   * The path by which the binary of a running process can be started again: its own, or where a
   * package's upgrade has put another in its place, the file that the process still has.
   */
  public static String program(QemuProcess process) {
    Path recorded = Path.of(process.binary().path());
    Path running = Path.of("/proc/" + process.identity().pid() + "/exe");
    try {
      boolean there = Files.exists(recorded);
      // A script starts the program in its own way, with libraries and data of its own.
      return there && (Files.isSameFile(recorded, running) || !isProgram(recorded))
          ? recorded.toString()
          : running.toString();
    } catch (IOException e) {
      return recorded.toString();
    }
  }

  /** Whether a file is machine code and no script that starts some. */
  private static boolean isProgram(Path file) throws IOException {
    try (var in = Files.newInputStream(file)) {
      return new String(in.readNBytes(4), StandardCharsets.ISO_8859_1).equals("\u007fELF");
    }
  }
}
