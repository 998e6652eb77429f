package io.holdfast.cli;

import static io.holdfast.cli.Table.Column.left;
import static io.holdfast.cli.Table.Column.right;
import static io.holdfast.cli.Table.clean;

import io.holdfast.cli.Answers.AgentStatus;
import io.holdfast.cli.Answers.Obstacle;
import io.holdfast.cli.Answers.Report;
import io.holdfast.cli.Answers.Span;
import io.holdfast.cli.Answers.Vm;
import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * What the agent answered, as text for people. Nothing here talks to anyone; every text ends its
 * last line.
 */
final class Render {
  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss", Locale.ROOT);

  private Render() {}

  static String vms(List<Vm> vms) {
    if (vms.isEmpty()) {
      return "No VM. Start one with: holdfast vm run NAME\n";
    }
    Table table =
        new Table(
            left("NAME"),
            left("STATE"),
            right("PID"),
            right("MEMORY"),
            right("CPUS"),
            left("QEMU"),
            left("MACHINE"),
            left("ACCEL"),
            right("GENERATION"));
    for (Vm vm : vms) {
      table.row(
          vm.name(),
          vm.state(),
          vm.pid().isPresent() ? Long.toString(vm.pid().getAsLong()) : "-",
          vm.memory() == 0 ? "-" : Size.text(vm.memory()),
          vm.cpus() == 0 ? "-" : Long.toString(vm.cpus()),
          dashed(vm.qemuVersion()),
          dashed(vm.machine()),
          dashed(vm.accelerator()),
          vm.generation() == 0 ? "-" : Long.toString(vm.generation()));
    }
    StringBuilder text = new StringBuilder(table.text());
    for (Vm vm : vms) {
      vm.reason()
          .ifPresent(
              reason ->
                  text.append(clean(vm.name() + " is " + vm.state() + ": " + reason)).append('\n'));
    }
    return text.toString();
  }

  /** Of a VM that is unknown nothing else is told. */
  private static String dashed(String text) {
    return text.isEmpty() ? "-" : text;
  }

  static String vm(Vm vm) {
    Facts facts = new Facts();
    facts.add("name", vm.name());
    facts.add("state", vm.state() + vm.reason().map(reason -> ": " + reason).orElse(""));
    vm.pid().ifPresent(pid -> facts.add("pid", Long.toString(pid)));
    facts.add("generation", Long.toString(vm.generation()));
    facts.add("qemu", vm.qemu() + " (" + vm.qemuVersion() + ")");
    facts.add("machine", vm.machine());
    facts.add("cpu", vm.cpus() + " x " + vm.cpu());
    facts.add("accelerator", accelerator(vm));
    facts.add(
        "memory",
        Size.text(vm.memory())
            + vm.definition().hugePages().map(pages -> ", huge pages (" + pages + ")").orElse(""));
    vm.definition().kernel().ifPresent(kernel -> facts.add("kernel", kernel));
    vm.definition().initrd().ifPresent(initrd -> facts.add("initrd", initrd));
    vm.definition().append().ifPresent(append -> facts.add("append", append));
    for (Answers.Disk disk : vm.definition().disks()) {
      facts.add(
          "disk",
          disk.path()
              + disk.format().map(f -> ", " + f).orElse("")
              + (disk.readOnly() ? ", read-only" : ""));
    }
    vm.cdroms()
        .forEach(
            cdrom -> facts.add("cd-rom", cdrom.drive() + ", " + cdrom.medium().orElse("empty")));
    vm.definition().networks().forEach(network -> facts.add("network", network(network)));
    facts.add("console log", vm.consoleLog());
    vm.channels()
        .forEach(channel -> facts.add("channel", channel.name() + ", " + channel.socket()));
    if (!vm.definition().extra().isEmpty()) {
      facts.add(
          "extra",
          vm.definition().extra().stream().map(Render::quoted).collect(Collectors.joining(" ")));
    }
    return facts.text();
  }

  private static String network(Answers.Network network) {
    StringBuilder text = new StringBuilder(network.kind());
    network.bridge().ifPresent(bridge -> text.append(", bridge ").append(bridge));
    network.mac().ifPresent(mac -> text.append(", ").append(mac));
    network.queues().ifPresent(queues -> text.append(", ").append(count(queues, "queue")));
    for (Answers.HostForward forward : network.forwards()) {
      text.append(", host port ")
          .append(forward.address().map(address -> address + ":").orElse(""))
          .append(forward.port())
          .append(" to port ")
          .append(forward.guestPort());
    }
    return text.toString();
  }

  /** How an adoption ended, or would end. */
  static String adoption(String name, Answers.Adoption adoption) {
    StringBuilder text = new StringBuilder();
    if (adoption.vm().isPresent()) {
      text.append(started(adoption.vm().get()))
          .append("It was adopted as it runs; it changes with its first update.\n");
    } else {
      text.append(clean("Adopting VM " + name))
          .append(
              adoption.obstacles().isEmpty() ? ": possible\n" : ": refused, nothing was changed\n");
    }
    if (!adoption.obstacles().isEmpty()) {
      return text.append(obstacles(adoption.obstacles())).toString();
    }
    return text.append(list("Preserved:", adoption.preserved()))
        .append(list("Lost with the first update, or in each:", adoption.losses()))
        .toString();
  }

  /** What {@code vm run} says of the VM that it started. */
  static String started(Vm vm) {
    return clean(
            "VM "
                + vm.name()
                + " is "
                + vm.state()
                + vm.reason().map(reason -> " (" + reason + ")").orElse("")
                + (vm.pid().isPresent() ? ", pid " + vm.pid().getAsLong() : "")
                + ": QEMU "
                + vm.qemuVersion()
                + ", "
                + vm.machine()
                + ", "
                + accelerator(vm)
                + ", "
                + Size.text(vm.memory())
                + ", "
                + count(vm.cpus(), "CPU"))
        + "\n"
        + clean("Its console: " + vm.consoleLog())
        + "\n";
  }

  static String status(AgentStatus status) {
    Facts facts = new Facts();
    facts.add("agent", "running, pid " + status.pid() + ", version " + status.version());
    facts.add("up for", DurationText.uptime(status.uptime()));
    facts.add("run directory", status.runDirectory());
    facts.add(
        "keeper", status.keeper() + ", holding " + count(status.heldDescriptors(), "descriptor"));
    facts.add("vms", Long.toString(status.vms()));
    if (status.recovering() > 0) {
      facts.add("taking back", count(status.recovering(), "VM") + " of the agent before");
    }
    facts.add("updates", Long.toString(status.updates()));
    if (status.refusedConnections() > 0) {
      facts.add(
          "refused", count(status.refusedConnections(), "connection") + " to VMs' host ports");
    }
    for (String recovered : status.recovered()) {
      facts.add("recovered", recovered);
    }
    return facts.text();
  }

  static String reports(List<Report> reports, ZoneId zone) {
    if (reports.isEmpty()) {
      return "No update so far. Start one with: holdfast update vmm NAME\n";
    }
    Table table =
        new Table(
            left("ID"),
            left("STARTED"),
            left("KIND"),
            left("TARGET"),
            left("OUTCOME"),
            right("BROWNOUT ms"),
            right("BLACKOUT ms"));
    for (Report report : reports) {
      table.row(
          report.id(),
          started(report, zone),
          report.kind(),
          report.target(),
          report.outcome(),
          DurationText.milliseconds(report.brownout()),
          DurationText.milliseconds(report.blackout()));
    }
    return table.text();
  }

  /** A finished update: how it ended, what stood in its way, its phases, what they add up to. */
  static String report(Report report, ZoneId zone) {
    StringBuilder text = new StringBuilder();
    text.append(clean("Update " + report.id() + " (" + report.kind() + ") of " + report.target()))
        .append(", started ")
        .append(started(report, zone))
        .append(": ")
        .append(clean(report.outcome()))
        .append('\n');
    if (!report.message().isBlank()) {
      text.append(clean(report.message())).append('\n');
    }
    if (!report.spans().isEmpty()) {
      text.append('\n').append(spans(report.spans()));
      text.append("\nbrownout ")
          .append(DurationText.text(report.brownout()))
          .append(", blackout ")
          .append(DurationText.text(report.blackout()))
          .append(measured(report.measured()))
          .append('\n');
    }
    return text.append(losses(report.losses())).append(obstacles(report.obstacles())).toString();
  }

  private static String measured(Answers.Measured measured) {
    return switch (measured.source()) {
      case "qemu" ->
          " (guest stopped, by QEMU's timestamps"
              + (measured.controller().isPresent()
                  ? "; controller's view: " + DurationText.text(measured.controller().getAsLong())
                  : "")
              + ")";
      case "controller" -> " (controller's view: " + clean(measured.reason()) + ")";
      case "kernel" -> " (from the first freeze to the last resume, over the kexec)";
      default -> "";
    };
  }

  /** The ends of several updates. */
  static String ends(List<Report> reports) {
    Table table =
        new Table(
            left("VM"), left("OUTCOME"), right("BROWNOUT ms"), right("BLACKOUT ms"), left("ID"));
    for (Report report : reports) {
      table.row(
          report.target(),
          report.outcome(),
          DurationText.milliseconds(report.brownout()),
          DurationText.milliseconds(report.blackout()),
          report.id());
    }
    long done = reports.stream().filter(report -> Exit.of(report.outcome()) == Exit.OK).count();
    return table.text() + "\n" + done + " of " + count(reports.size(), "VM") + " done\n";
  }

  /**
   * What an update would do, or what is in its way: the answer to a dry run, in which the times are
   * what is expected.
   */
  static String plan(Report report) {
    StringBuilder text = new StringBuilder();
    boolean possible = report.obstacles().isEmpty() && !report.outcome().equals("refused");
    text.append(clean("Plan to update the " + kind(report) + " of " + report.target()))
        .append(": ")
        .append(possible ? "possible" : "refused, nothing would be changed")
        .append('\n');
    if (!report.message().isBlank()) {
      text.append(clean(report.message())).append('\n');
    }
    if (!possible) {
      return text.append(obstacles(report.obstacles())).toString();
    }
    if (report.brownout() > 0 || report.blackout() > 0) {
      List<String> expected = new ArrayList<>();
      if (report.brownout() > 0) {
        expected.add("brownout " + DurationText.text(report.brownout()));
      }
      if (report.blackout() > 0) {
        expected.add("blackout " + DurationText.text(report.blackout()));
      }
      text.append("expected: ").append(String.join(", ", expected)).append('\n');
    }
    text.append(list("Preserved:", report.preserved()));
    text.append(losses(report.losses()));
    return text.append(list("Risks:", report.risks())).toString();
  }

  /**
   * What is in the way of an update, each with what to do about it; nothing if there is nothing.
   */
  static String obstacles(List<Obstacle> obstacles) {
    if (obstacles.isEmpty()) {
      return "";
    }
    StringBuilder text = new StringBuilder("\nIn the way:\n");
    for (Obstacle obstacle : obstacles) {
      text.append("  - ")
          .append(
              clean(
                  (obstacle.participant().isEmpty() ? "" : obstacle.participant() + ": ")
                      + obstacle.what()
                      + ": "
                      + obstacle.why()))
          .append('\n');
      if (!obstacle.advice().isBlank()) {
        text.append("    what to do: ").append(clean(obstacle.advice())).append('\n');
      }
    }
    return text.toString();
  }

  private static String losses(List<String> losses) {
    return list("Lost by it:", losses);
  }

  private static String list(String heading, List<String> items) {
    StringBuilder text = new StringBuilder();
    if (!items.isEmpty()) {
      text.append('\n').append(heading).append('\n');
      for (String item : items) {
        text.append("  - ").append(clean(item)).append('\n');
      }
    }
    return text.toString();
  }

  private static String spans(List<Span> spans) {
    boolean noted = spans.stream().anyMatch(span -> !span.notes().isEmpty());
    List<Table.Column> columns =
        new ArrayList<>(
            List.of(
                left("STATE"),
                left("PARTICIPANT/STEP"),
                left("PHASE"),
                right("START ms"),
                right("LENGTH ms")));
    if (noted) {
      columns.add(left("NOTES"));
    }
    Table table = new Table(columns.toArray(Table.Column[]::new));
    for (Span span : spans) {
      List<String> cells =
          new ArrayList<>(
              List.of(
                  span.state(),
                  span.participant() + "/" + span.step(),
                  span.phase(),
                  DurationText.milliseconds(span.start()),
                  DurationText.milliseconds(span.length())));
      if (noted) {
        cells.add(notes(span.notes()));
      }
      table.row(cells.toArray(String[]::new));
    }
    return table.text();
  }

  private static String notes(Map<String, String> notes) {
    return notes.entrySet().stream()
        .map(e -> e.getKey() + " " + e.getValue())
        .collect(Collectors.joining(", "));
  }

  private static String accelerator(Vm vm) {
    return vm.accelerator()
        + (vm.acceleratorReason().isEmpty() ? "" : " (" + vm.acceleratorReason() + ")");
  }

  private static String kind(Report report) {
    return report.kind().equals("vmm") ? "VMM" : report.kind();
  }

  private static String started(Report report, ZoneId zone) {
    return TIME.format(Instant.ofEpochMilli(report.started()).atZone(zone));
  }

  private static String count(long number, String thing) {
    return number + " " + thing + (number == 1 ? "" : "s");
  }

  /** The argument as a shell would need it to be written. */
  private static String quoted(String argument) {
    return argument.matches("[A-Za-z0-9_./:=,@%+-]+")
        ? argument
        : "'" + argument.replace("'", "'\\''") + "'";
  }

  /** Lines of a name and its value, the values below each other. */
  private static final class Facts {
    private record Fact(String name, String value) {}

    private final List<Fact> facts = new ArrayList<>();

    void add(String name, String value) {
      facts.add(new Fact(name, value));
    }

    String text() {
      int width = facts.stream().mapToInt(fact -> fact.name().length()).max().orElse(0);
      StringBuilder text = new StringBuilder();
      for (Fact fact : facts) {
        text.append(fact.name())
            .append(": ")
            .append(" ".repeat(width - fact.name().length()))
            .append(clean(fact.value()))
            .append('\n');
      }
      return text.toString();
    }
  }
}
