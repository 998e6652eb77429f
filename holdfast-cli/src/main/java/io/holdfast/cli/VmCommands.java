package io.holdfast.cli;

import io.holdfast.cli.Answers.Vm;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.PositionalParamSpec;
import picocli.CommandLine.TypeConversionException;

/** {@code holdfast vm …}. */
final class VmCommands {
  private static final String GUEST_AGENT = "org.qemu.guest_agent.0";

  private VmCommands() {}

  static CommandSpec group() {
    CommandSpec group =
        CommandLineInterface.group("vm", "Starts, adopts, shows and stops virtual machines.");
    group.addSubcommand("run", run());
    group.addSubcommand("adopt", adopt());
    group.addSubcommand("list", list());
    group.addSubcommand("show", show());
    group.addSubcommand("console", ConsoleCommand.console());
    group.addSubcommand(
        "pause",
        guest(
            "pause",
            "Pause",
            "Stops a VM's guest until it is resumed; it stays paused through updates."));
    group.addSubcommand(
        "resume", guest("resume", "Resume", "Lets a VM's guest go on that was paused."));
    group.addSubcommand("stop", stop());
    group.addSubcommand("media", media());
    group.addSubcommand("qmp", qmp());
    return group;
  }

  /** The argument that every command on one VM has. */
  static PositionalParamSpec name() {
    return PositionalParamSpec.builder()
        .index("0")
        .type(String.class)
        .paramLabel("NAME")
        .required(true)
        .description("The VM's name.")
        .build();
  }

  static OptionSpec qemu(String description) {
    return OptionSpec.builder("--qemu")
        .type(String.class)
        .paramLabel("PATH")
        .description(description)
        .build();
  }

  private static CommandSpec list() {
    return CommandLineInterface.command(
        "list",
        "Lists the VMs.",
        invocation -> {
          JsonObject reply = invocation.call("io.holdfast.Vm.List", JsonObject.empty());
          invocation.print(
              reply,
              () -> Render.vms(invocation.read(reply, json -> Answers.each(json, "vms", Vm::of))));
          return Exit.OK;
        });
  }

  private static CommandSpec show() {
    return CommandLineInterface.command(
            "show",
            "Shows a VM: what it was promised, and what runs it now.",
            invocation -> {
              JsonObject reply =
                  invocation.call(
                      "io.holdfast.Vm.Show", JsonObject.of("name", invocation.argument()));
              invocation.print(reply, () -> Render.vm(vm(invocation, reply)));
              return Exit.OK;
            })
        .addPositional(name());
  }

  private static CommandSpec guest(String name, String method, String description) {
    return CommandLineInterface.command(
            name,
            description,
            invocation -> {
              JsonObject reply =
                  invocation.call(
                      "io.holdfast.Vm." + method, JsonObject.of("name", invocation.argument()));
              invocation.print(
                  reply,
                  () -> {
                    Vm vm = vm(invocation, reply);
                    return "VM " + vm.name() + " is " + vm.state() + ".\n";
                  });
              return Exit.OK;
            })
        .addPositional(name());
  }

  private static CommandSpec stop() {
    return CommandLineInterface.command(
            "stop",
            "Ends a VM: its QEMU quits, its memory is freed.",
            invocation -> {
              JsonObject reply =
                  invocation.call(
                      "io.holdfast.Vm.Stop", JsonObject.of("name", invocation.argument()));
              invocation.print(reply, () -> "VM " + invocation.argument() + " is stopped.\n");
              return Exit.OK;
            })
        .addPositional(name());
  }

  private static CommandSpec media() {
    CommandSpec spec =
        CommandLineInterface.command(
            "media",
            "Changes the medium in a CD-ROM drive of a VM.",
            invocation -> {
              String medium = word(invocation, 2);
              JsonObject reply =
                  invocation.call(
                      "io.holdfast.Vm.Media",
                      JsonObject.of(
                          "name",
                          invocation.argument(),
                          "drive",
                          word(invocation, 1),
                          "medium",
                          medium.equals("none")
                              ? Optional.empty()
                              : Optional.of(invocation.shell().absolute(medium))));
              invocation.print(
                  reply,
                  () ->
                      "Drive %s of VM %s %s.\n"
                          .formatted(
                              word(invocation, 1),
                              invocation.argument(),
                              medium.equals("none") ? "is empty" : "has " + medium));
              return Exit.OK;
            });
    spec.addPositional(name());
    spec.addPositional(word(1, "DRIVE", "The drive: cdrom0 is the first.").required(true).build());
    spec.addPositional(
        word(2, "PATH|none", "A raw image, or none to leave the drive empty.")
            .required(true)
            .build());
    return spec;
  }

  private static CommandSpec qmp() {
    CommandSpec spec =
        CommandLineInterface.command(
            "qmp",
            "Executes a QMP command in the QEMU that runs a VM.",
            invocation -> {
              JsonObject reply =
                  invocation.call(
                      "io.holdfast.Vm.Qmp",
                      JsonObject.of(
                          "name",
                          invocation.argument(),
                          "command",
                          word(invocation, 1),
                          "arguments",
                          invocation
                              .own()
                              .matchedPositionalValue(2, Optional.<JsonObject>empty())));
              invocation.print(
                  reply,
                  () ->
                      invocation
                              .read(
                                  reply,
                                  json ->
                                      JsonObject.of(
                                          "return",
                                          json.object("reply")
                                              .get("return")
                                              .orElse(JsonObject.empty())))
                              .pretty()
                          + "\n");
              return Exit.OK;
            });
    spec.usageMessage()
        .footer(
            "%nOnly commands whose effect survives an update are passed on. What is plugged in or out (device_add,"
                + " blockdev-add, object-add and their opposites) every later QEMU gets, too.%nThe socket qmp.sock in the"
                + " VM's directory takes the same commands from any QMP client.");
    spec.addPositional(name());
    spec.addPositional(word(1, "COMMAND", "Such as query-block.").required(true).build());
    spec.addPositional(
        word(2, "ARGUMENTS", "A JSON object.")
            .type(Optional.class)
            .auxiliaryTypes(JsonObject.class)
            .converters(text -> converted(() -> object(text)))
            .build());
    return spec;
  }

  private static CommandSpec adopt() {
    CommandSpec spec =
        CommandLineInterface.command(
            "adopt",
            "Takes over a running QEMU that Holdfast did not start; nothing changes in the guest.",
            VmCommands::adopt);
    spec.addPositional(name());
    spec.addOption(
        option("--qmp", "SOCKET", "Its QMP monitor, one that nobody else is connected to.")
            .required(true)
            .build());
    spec.addOption(qemu("The QEMU that successors are to run; the one that runs if not given."));
    spec.addOption(
        OptionSpec.builder("--dry-run")
            .type(boolean.class)
            .description("Only say what is in the way, and what would be lost.")
            .build());
    spec.addOption(
        OptionSpec.builder("--more-privileges")
            .type(boolean.class)
            .description(
                "Successors may have the agent's namespaces and confinement where those of the"
                    + " process differ; it is refused if not given.")
            .build());
    return spec;
  }

  private static Exit adopt(Invocation invocation) {
    JsonObject reply =
        invocation.call(
            "io.holdfast.Vm.Adopt",
            JsonObject.of(
                "name",
                invocation.argument(),
                "qmp",
                file(invocation, "--qmp"),
                "qemu",
                invocation.option("--qemu", String.class).map(invocation.shell()::program),
                "dryRun",
                invocation.flag("--dry-run"),
                "morePrivileges",
                invocation.flag("--more-privileges")));
    Answers.Adoption adoption = invocation.read(reply, Answers.Adoption::of);
    invocation.print(reply, () -> Render.adoption(invocation.argument(), adoption));
    return adoption.obstacles().isEmpty() ? Exit.OK : Exit.REFUSED;
  }

  private static PositionalParamSpec.Builder word(int index, String label, String description) {
    return PositionalParamSpec.builder()
        .index(Integer.toString(index))
        .type(String.class)
        .paramLabel(label)
        .description(description);
  }

  private static String word(Invocation invocation, int index) {
    return invocation.own().matchedPositionalValue(index, "");
  }

  private static JsonObject object(String text) {
    try {
      return Json.parse(text);
    } catch (JsonException e) {
      throw new IllegalArgumentException(
          "'" + text + "' is no JSON object, such as '{\"id\":\"disk1\"}': " + e.getMessage());
    }
  }

  private static CommandSpec run() {
    CommandSpec spec =
        CommandLineInterface.command(
            "run", "Starts a VM whose memory the agent holds.", VmCommands::run);
    spec.usageMessage()
        .customSynopsis("holdfast vm run NAME [OPTIONS] [-- QEMU ARGUMENTS]")
        .footer(
            "%nWhat comes after -- is given to QEMU as it is, and again to each successor: a host port or a listening"
                + " socket in it is taken when the successor starts, and the update is cancelled.");
    spec.addPositional(name());
    spec.addPositional(
        PositionalParamSpec.builder()
            .index("1..*")
            .arity("0..*")
            .type(List.class)
            .auxiliaryTypes(String.class)
            .hidden(true)
            .build());
    spec.addOption(
        option(
                "--memory",
                "SIZE",
                "The guest's RAM: a number and K, M, G or T, binary; 1G if not given.")
            .type(Long.class)
            .converters(text -> converted(() -> Size.parse(text)))
            .build());
    spec.addOption(
        option("--cpus", "N", "Virtual CPUs; 1 if not given.")
            .type(Long.class)
            .converters(text -> converted(() -> number(text, "CPUs")))
            .build());
    spec.addOption(
        option(
                "--disk",
                "PATH[,format=raw|qcow2][,readonly][,bus=virtio|scsi]",
                "A disk image; may come more than once. A comma in the path is written twice.")
            .type(List.class)
            .auxiliaryTypes(DiskOption.class)
            .converters(text -> converted(() -> DiskOption.parse(text)))
            .build());
    spec.addOption(
        option(
                "--net",
                "NETWORK",
                "A network card; may come more than once. "
                    + NetOption.TAP
                    + " plugs it into a bridge of the host. "
                    + NetOption.USER
                    + " has it on a network of QEMU's own, whose connections an update ends, and ports of the host lead into it.")
            .type(List.class)
            .auxiliaryTypes(NetOption.class)
            .converters(text -> converted(() -> NetOption.parse(text)))
            .build());
    spec.addOption(option("--kernel", "FILE", "The kernel to boot directly.").build());
    spec.addOption(option("--initrd", "FILE", "Its initial file system.").build());
    spec.addOption(option("--append", "ARGS", "Its command line.").build());
    spec.addOption(
        option(
                "--machine",
                "M",
                "QEMU's machine type; q35 if not given. An alias is fixed to the version that it means now.")
            .build());
    spec.addOption(
        option(
                "--cpu",
                "MODEL",
                "QEMU's CPU model; host under kvm, max under tcg if not given. Fixed to its properties.")
            .build());
    spec.addOption(
        option("--accel", "kvm|tcg", "What runs the guest's CPUs; probed if not given.")
            .converters(text -> converted(() -> accelerator(text)))
            .build());
    spec.addOption(
        option(
                "--huge-pages",
                "transparent|2M|1G",
                "Back the guest's RAM by huge pages: where the kernel finds room (transparent, if nothing else is said),"
                    + " or by reserved ones.")
            .arity("0..1")
            .fallbackValue("transparent")
            .converters(text -> converted(() -> pages(text)))
            .build());
    spec.addOption(
        option(
                "--cdrom",
                "PATH|none",
                "A CD-ROM drive with a medium, or empty; may come more than once.")
            .type(List.class)
            .auxiliaryTypes(String.class)
            .build());
    spec.addOption(flag("--rng", "A virtio-rng device."));
    spec.addOption(flag("--balloon", "A virtio-balloon device."));
    spec.addOption(
        option(
                "--hotplug-ports",
                "N",
                "PCI Express ports for devices that are plugged in later; none if not given.")
            .type(Long.class)
            .converters(text -> converted(() -> number(text, "ports")))
            .build());
    spec.addOption(
        option(
                "--console",
                "serial|virtio",
                "What the guest's console is: its first serial port, or a virtio console; serial if not given.")
            .converters(text -> converted(() -> console(text)))
            .build());
    spec.addOption(
        option(
                "--console-log-limit",
                "SIZE",
                "The size at which the console's log begins anew, with the one before kept; 16M if not given.")
            .type(Long.class)
            .converters(text -> converted(() -> Size.parse(text)))
            .build());
    spec.addOption(
        option(
                "--channel",
                "NAME",
                "A named port between guest and host, by a socket there; may come more than once.")
            .type(List.class)
            .auxiliaryTypes(String.class)
            .build());
    spec.addOption(
        flag("--guest-agent", "The channel of QEMU's guest agent, " + GUEST_AGENT + "."));
    spec.addOption(
        qemu(
            "The QEMU to run: a path, or a name to look for in PATH; qemu-system-x86_64 if not given."));
    return spec;
  }

  private static Exit run(Invocation invocation) {
    List<String> extra = extra(invocation);
    Optional<String> kernel = file(invocation, "--kernel");
    for (String needsKernel : List.of("--initrd", "--append")) {
      if (kernel.isEmpty() && invocation.option(needsKernel, String.class).isPresent()) {
        throw CommandLineInterface.usage(
            invocation.own().commandSpec(),
            needsKernel
                + " says something about a kernel that is booted directly: give --kernel too, or neither");
      }
    }
    List<JsonObject> disks =
        invocation.<DiskOption>options("--disk").stream()
            .map(
                disk ->
                    JsonObject.of(
                        "path",
                        invocation.shell().absolute(disk.path()),
                        "format",
                        disk.format(),
                        "readOnly",
                        disk.readOnly(),
                        "bus",
                        disk.bus()))
            .toList();
    List<JsonObject> cdroms =
        invocation.<String>options("--cdrom").stream()
            .map(
                medium ->
                    medium.equals("none")
                        ? JsonObject.empty()
                        : JsonObject.of("medium", invocation.shell().absolute(medium)))
            .toList();
    JsonObject definition =
        JsonObject.of(
            "name",
            invocation.argument(),
            "qemu",
            invocation.option("--qemu", String.class).map(invocation.shell()::program),
            "memory",
            invocation.option("--memory", Long.class).orElse(1L << 30),
            "hugePages",
            invocation.option("--huge-pages", String.class),
            "cpus",
            invocation.option("--cpus", Long.class).orElse(1L),
            "machine",
            invocation.option("--machine", String.class),
            "cpu",
            invocation.option("--cpu", String.class),
            "accelerator",
            invocation.option("--accel", String.class),
            "kernel",
            kernel,
            "initrd",
            file(invocation, "--initrd"),
            "append",
            invocation.option("--append", String.class),
            "disks",
            disks,
            "cdroms",
            cdroms.isEmpty() ? Optional.empty() : Optional.of(cdroms),
            "rng",
            given(invocation, "--rng"),
            "balloon",
            given(invocation, "--balloon"),
            "hotplugPorts",
            invocation.option("--hotplug-ports", Long.class),
            "networks",
            networks(invocation),
            "console",
            invocation.option("--console", String.class),
            "consoleLogLimit",
            invocation.option("--console-log-limit", Long.class),
            "channels",
            channels(invocation),
            "extra",
            extra);
    JsonObject reply =
        invocation.call("io.holdfast.Vm.Run", JsonObject.of("definition", definition));
    invocation.print(reply, () -> Render.started(vm(invocation, reply)));
    return Exit.OK;
  }

  /** None at all is left out. */
  private static Optional<List<JsonObject>> networks(Invocation invocation) {
    return Optional.of(
            invocation.<NetOption>options("--net").stream().map(VmCommands::network).toList())
        .filter(networks -> !networks.isEmpty());
  }

  private static JsonObject network(NetOption network) {
    List<JsonObject> forwards =
        network.forwards().stream()
            .map(
                forward ->
                    JsonObject.of(
                        "address",
                        forward.address(),
                        "port",
                        forward.port(),
                        "guestPort",
                        forward.guestPort()))
            .toList();
    return JsonObject.of(
        "kind",
        network.kind(),
        "mac",
        network.mac(),
        "bridge",
        network.bridge(),
        "queues",
        network.queues().isPresent() ? Optional.of(network.queues().getAsLong()) : Optional.empty(),
        "hostForwards",
        Optional.of(forwards).filter(list -> !list.isEmpty()));
  }

  /**
   * What comes after "--". A second word before it is more likely a mistake than meant for QEMU.
   */
  private static List<String> extra(Invocation invocation) {
    List<String> extra = invocation.own().matchedPositionalValue(1, List.of());
    List<String> words = invocation.parsed().originalArgs();
    int end = words.indexOf("--");
    int after = end < 0 ? 0 : words.size() - end - 1;
    if (extra.size() > after) {
      throw CommandLineInterface.usage(
          invocation.own().commandSpec(),
          "'" + extra.getFirst() + "' is one word too many: QEMU's own arguments come after --");
    }
    return extra;
  }

  private static Vm vm(Invocation invocation, JsonObject reply) {
    return invocation.read(reply, json -> Vm.of(json.object("vm")));
  }

  private static Optional<String> file(Invocation invocation, String option) {
    return invocation.option(option, String.class).map(invocation.shell()::absolute);
  }

  private static OptionSpec.Builder option(String name, String label, String description) {
    return OptionSpec.builder(name).type(String.class).paramLabel(label).description(description);
  }

  private static Optional<List<String>> channels(Invocation invocation) {
    List<String> channels = new ArrayList<>(invocation.<String>options("--channel"));
    if (invocation.flag("--guest-agent")) {
      channels.add(GUEST_AGENT);
    }
    return channels.isEmpty() ? Optional.empty() : Optional.of(channels);
  }

  private static String console(String text) {
    if (!text.equals("serial") && !text.equals("virtio")) {
      throw new IllegalArgumentException("'" + text + "' is not known: write serial or virtio");
    }
    return text;
  }

  private static OptionSpec flag(String name, String description) {
    return OptionSpec.builder(name).type(boolean.class).description(description).build();
  }

  private static Optional<Boolean> given(Invocation invocation, String flag) {
    return invocation.flag(flag) ? Optional.of(true) : Optional.empty();
  }

  private static long number(String text, String what) {
    if (!text.matches("[1-9][0-9]{0,5}")) {
      throw new IllegalArgumentException(
          "'" + text + "' is no number of " + what + ": write a whole number from 1 on");
    }
    return Long.parseLong(text);
  }

  private static String pages(String text) {
    if (!List.of("transparent", "2M", "1G").contains(text)) {
      throw new IllegalArgumentException(
          "'" + text + "' is not known: write transparent, 2M or 1G");
    }
    return text;
  }

  private static String accelerator(String text) {
    if (!text.equals("kvm") && !text.equals("tcg")) {
      throw new IllegalArgumentException(
          "'" + text + "' is not known: write kvm or tcg, or leave --accel out");
    }
    return text;
  }

  interface Conversion<T> {
    T value();
  }

  static <T> T converted(Conversion<T> conversion) {
    try {
      return conversion.value();
    } catch (IllegalArgumentException e) {
      throw new TypeConversionException(String.valueOf(e.getMessage()));
    }
  }
}
