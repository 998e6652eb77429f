package io.holdfast.cli;

import io.holdfast.kho.image.Compression;
import io.holdfast.kho.image.ImageException;
import io.holdfast.kho.image.KernelAbi;
import io.holdfast.kho.image.KernelImage;
import io.holdfast.kho.image.Preflight;
import io.holdfast.kho.image.Refusal;
import io.holdfast.kho.image.RunningKernel;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/**
 * {@code holdfast kho check}: whether a kernel would take over what another hands over. It reads
 * files and changes nothing.
 */
final class KhoCheckCommand {
  private static final String RUNNING = "running";

  private KhoCheckCommand() {}

  static CommandSpec check() {
    return CommandLineInterface.command(
            "check",
            "Says whether a kernel would take over this kernel's state, and why not. Nothing is changed.",
            KhoCheckCommand::run)
        .addOption(
            OptionSpec.builder("--kernel")
                .type(String.class)
                .paramLabel("IMAGE")
                .required(true)
                .description("The kernel that is to take over: a bzImage or a vmlinux.")
                .build())
        .addOption(
            OptionSpec.builder("--from")
                .type(String.class)
                .paramLabel("IMAGE")
                .description(
                    "The kernel that hands over; else, or with 'running', the one that runs, whose"
                        + " image is looked for in /boot and /lib/modules.")
                .build())
        .addOption(
            OptionSpec.builder("--append")
                .type(String.class)
                .paramLabel("ARGS")
                .description(
                    "The new kernel's command line, all of it; else that of the kernel that runs.")
                .build());
  }

  private static Exit run(Invocation invocation) {
    Path root = Path.of("/");
    Optional<String> fromOption =
        invocation.option("--from", String.class).filter(from -> !from.equals(RUNNING));
    Optional<String> append = invocation.option("--append", String.class);
    KernelImage to = read(invocation, invocation.option("--kernel", String.class).orElseThrow());
    KernelImage from;
    if (fromOption.isPresent()) {
      from = read(invocation, fromOption.get());
    } else {
      from = known(invocation.trying(), RunningKernel.find(root)).image();
    }
    String commandLine =
        append
            .or(() -> RunningKernel.commandLine(root))
            .orElseThrow(() -> noCommandLine(invocation));
    Answer answer = new Answer(from, to, commandLine, Preflight.check(from, to, commandLine));
    invocation.print(answer.json(), answer::text);
    return answer.refusals().isEmpty() ? Exit.OK : Exit.REFUSED;
  }

  private static KernelImage read(Invocation invocation, String file) {
    try {
      return KernelImage.read(Path.of(invocation.shell().absolute(file)));
    } catch (ImageException e) {
      throw new Failure(
          Exit.FAILED, "io.holdfast.cli.BadKernel", invocation.trying() + ": " + e.getMessage());
    }
  }

  /** The running kernel, which must be known: a guess would be worth nothing. */
  static RunningKernel.Known known(String trying, RunningKernel running) {
    return switch (running) {
      case RunningKernel.Known known -> known;
      case RunningKernel.Unknown unknown ->
          throw new Failure(
              Exit.FAILED,
              "io.holdfast.cli.UnknownKernel",
              trying
                  + ": what the running kernel hands over is not known. "
                  + unknown.reason()
                  + " "
                  + unknown.advice());
    };
  }

  private static Failure noCommandLine(Invocation invocation) {
    return new Failure(
        Exit.FAILED,
        "io.holdfast.cli.UnknownKernel",
        invocation.trying()
            + ": the running kernel's command line can't be read. Give the new one with --append ARGS.");
  }

  /**
   * What the check came to.
   *
   * @param refusals what is in the way of the state
   * @param note what else there is to say; blank if nothing
   */
  record Answer(
      KernelImage from, KernelImage to, String commandLine, List<Refusal> refusals, String note) {

    Answer(KernelImage from, KernelImage to, String commandLine, List<Refusal> refusals) {
      // A vmlinux is never what is booted; asked is whether its code would take over.
      this(
          from,
          to,
          commandLine,
          refusals.stream().filter(refusal -> !onlyItsFile(to, refusal)).toList(),
          refusals.stream()
              .filter(refusal -> onlyItsFile(to, refusal))
              .map(
                  refusal ->
                      "This file itself can't be loaded: name the bzImage that was made of it for the update.")
              .findFirst()
              .orElse(""));
    }

    private static boolean onlyItsFile(KernelImage to, Refusal refusal) {
      return refusal.what() == Refusal.What.NOT_LOADABLE
          && to.format() == KernelImage.Format.VMLINUX;
    }

    JsonObject json() {
      List<JsonObject> inTheWay = new ArrayList<>();
      for (Refusal refusal : refusals) {
        inTheWay.add(
            JsonObject.of(
                "what",
                refusal.what().name(),
                "reason",
                refusal.reason(),
                "advice",
                refusal.advice()));
      }
      JsonObject json =
          JsonObject.of(
              "accepted",
              refusals.isEmpty(),
              "from",
              json(from),
              "to",
              json(to),
              "commandLine",
              commandLine,
              "refusals",
              inTheWay);
      return note.isEmpty() ? json : json.with("note", note);
    }

    private static JsonObject json(KernelImage image) {
      JsonObject json =
          JsonObject.of(
              "file",
              image.file().toString(),
              "format",
              image.format().words(),
              "architecture",
              image.architecture().words(),
              "release",
              image.release(),
              "banner",
              image.banner(),
              "kho",
              List.copyOf(image.abi().kho()),
              "luo",
              List.copyOf(image.abi().luo()),
              "handlers",
              List.copyOf(image.abi().handlers()),
              "configured",
              image.config().isPresent());
      return image.compression().isPresent()
          ? json.with("compression", words(image.compression().get()))
          : json;
    }

    String text() {
      Table table =
          new Table(
              Table.Column.left(""),
              Table.Column.left("RELEASE"),
              Table.Column.left("KHO"),
              Table.Column.left("LUO"),
              Table.Column.left("HANDLERS"),
              Table.Column.left("FILE"));
      row(table, "from", from);
      row(table, "to", to);
      StringBuilder text = new StringBuilder(table.text());
      text.append("\nNew command line: ").append(Table.clean(commandLine)).append("\n\n");
      if (refusals.isEmpty()) {
        text.append(
            Table.clean(
                "Accepted: %s would take over what %s hands over."
                    .formatted(to.release(), from.release())));
        text.append('\n');
      } else {
        text.append(
            Table.clean(
                "Refused: %s would not take over what %s hands over."
                    .formatted(to.release(), from.release())));
        text.append('\n');
        for (Refusal refusal : refusals) {
          text.append("  - ").append(Table.clean(refusal.reason())).append('\n');
          text.append("    what to do: ").append(Table.clean(refusal.advice())).append('\n');
        }
      }
      return note.isEmpty() ? text.toString() : text.append(note).append('\n').toString();
    }

    private static void row(Table table, String name, KernelImage image) {
      KernelAbi abi = image.abi();
      table.row(
          name,
          image.release(),
          list(abi.kho()),
          list(abi.luo()),
          list(abi.handlers()),
          image.file()
              + " ("
              + image.format().words()
              + image.compression().map(compression -> ", " + words(compression)).orElse("")
              + ")");
    }

    private static String list(Iterable<String> names) {
      String list = String.join(" ", names);
      return list.isEmpty() ? "-" : list;
    }

    private static String words(Compression compression) {
      return compression.name().toLowerCase(Locale.ROOT);
    }
  }
}
