package io.holdfast.cli;

import io.holdfast.fdt.FdtException;
import io.holdfast.fdt.FdtSource;
import io.holdfast.fdt.FdtTree;
import io.holdfast.kho.Defect;
import io.holdfast.kho.DefectException;
import io.holdfast.kho.Handover;
import io.holdfast.kho.LiveHost;
import io.holdfast.kho.LuoState.PreservedFile;
import io.holdfast.kho.LuoState.Session;
import io.holdfast.kho.Memfd;
import io.holdfast.kho.StartingPoint;
import io.holdfast.kho.StateTree;
import io.holdfast.kho.memory.ElfCore;
import io.holdfast.kho.memory.KernelCore;
import io.holdfast.kho.memory.MemoryException;
import io.holdfast.kho.memory.PhysicalMemory;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Optional;
import java.util.function.BiFunction;
import java.util.function.Supplier;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.PositionalParamSpec;

/**
 * {@code holdfast kho …}: what a kernel hands over to the next one, read from a dump of its memory
 * or from this machine. These need no agent.
 */
final class KhoCommands {
  private static final String DEFECT = "io.holdfast.kho.Defect";
  private static final String MEMORY = "io.holdfast.kho.Memory";
  private static final int CHUNK = 1 << 20;

  private KhoCommands() {}

  static CommandSpec group() {
    CommandSpec group =
        CommandLineInterface.group(
            "kho", "Shows and checks what a kernel hands over to the next one (Kexec HandOver).");
    group.addSubcommand("show", show());
    group.addSubcommand("tree", tree());
    group.addSubcommand("memory", memory());
    group.addSubcommand("sessions", sessions());
    group.addSubcommand("dump", dump());
    group.addSubcommand("verify", verify());
    group.addSubcommand("check", KhoCheckCommand.check());
    return group;
  }

  /** A command that reads a handover. */
  private static CommandSpec reading(String name, String description, Invocation.Action action) {
    CommandSpec spec = CommandLineInterface.command(name, description, action);
    return spec.addOption(
            OptionSpec.builder("--core")
                .type(String.class)
                .paramLabel("FILE")
                .description(
                    "A dump of a machine's memory, an ELF core, such as QEMU's dump-guest-memory writes; without it,"
                        + " this machine.")
                .build())
        .addOption(
            OptionSpec.builder("--root")
                .type(Long.class)
                .paramLabel("ADDRESS")
                .converters(text -> VmCommands.converted(() -> address(text)))
                .description(
                    "Where the state tree is, a physical address; if not given, it is looked for.")
                .build());
  }

  private static long address(String text) {
    try {
      long address = Long.decode(text);
      if (address >= 0) {
        return address;
      }
    } catch (NumberFormatException e) {
      // Told below.
    }
    throw new IllegalArgumentException(
        "'" + text + "' is no address: write a number, such as 0x1f4b000");
  }

  private static CommandSpec show() {
    return reading(
        "show",
        "Shows what is handed over: versions, sessions, regions, scratch areas, how much memory.",
        invocation -> {
          if (live(invocation)) {
            LiveHost host = attempt(invocation, () -> LiveHost.read(LiveHost.DEBUGFS));
            invocation.print(KhoAnswers.live(host), () -> KhoRender.live(host));
            return Exit.OK;
          }
          return with(
              invocation,
              (handover, _) -> {
                invocation.print(KhoAnswers.show(handover), () -> KhoRender.show(handover));
                return Exit.OK;
              });
        });
  }

  private static CommandSpec tree() {
    return reading(
        "tree",
        "Prints the state tree as device-tree source. Numbers in it are little-endian.",
        invocation -> {
          if (live(invocation)) {
            LiveHost host = attempt(invocation, () -> LiveHost.read(LiveHost.DEBUGFS));
            Optional<FdtTree> whole = host.outgoing();
            if (whole.isPresent()) {
              return printTree(invocation, whole.get());
            }
          }
          return with(invocation, (handover, _) -> printTree(invocation, handover.state().tree()));
        });
  }

  private static Exit printTree(Invocation invocation, FdtTree tree) {
    String source;
    try {
      source = FdtSource.print(tree);
    } catch (FdtException e) {
      throw failure(invocation, DEFECT, String.valueOf(e.getMessage()));
    }
    invocation.print(JsonObject.of("source", source), () -> source);
    return Exit.OK;
  }

  private static CommandSpec memory() {
    return reading(
            "memory",
            "Shows preserved memory by order and by owner, scratch areas, and a map of it all.",
            invocation ->
                with(
                    invocation,
                    (handover, _) -> {
                      for (String option : List.of("--html", "--svg")) {
                        invocation
                            .option(option, String.class)
                            .ifPresent(
                                file ->
                                    write(
                                        invocation,
                                        file,
                                        option.equals("--svg")
                                            ? KhoMap.svg(handover)
                                            : KhoMap.html(handover)));
                      }
                      invocation.print(
                          KhoAnswers.memory(handover),
                          () ->
                              KhoRender.memory(handover)
                                  + "\n"
                                  + KhoMap.text(handover, invocation.shell().width()));
                      return Exit.OK;
                    }))
        .addOption(
            OptionSpec.builder("--html")
                .type(String.class)
                .paramLabel("FILE")
                .description("Also write the map as a page that needs nothing else.")
                .build())
        .addOption(
            OptionSpec.builder("--svg")
                .type(String.class)
                .paramLabel("FILE")
                .description("Also write the map as a picture.")
                .build());
  }

  private static void write(Invocation invocation, String file, String text) {
    try {
      Files.writeString(Path.of(invocation.shell().absolute(file)), text);
    } catch (IOException e) {
      throw failure(
          invocation, "io.holdfast.cli.NotWritten", file + " can't be written: " + why(e));
    }
  }

  private static String why(IOException e) {
    return e.getClass().getSimpleName() + ": " + e.getMessage();
  }

  private static CommandSpec sessions() {
    return reading(
        "sessions",
        "Lists the sessions and their files.",
        invocation -> {
          if (live(invocation)) {
            throw failure(
                invocation,
                "io.holdfast.kho.NotKnown",
                "no running kernel has a list of its outgoing sessions: it is written in the reboot"
                    + " call. Give a dump that was taken there: --core FILE");
          }
          return with(
              invocation,
              (handover, _) -> {
                invocation.print(KhoAnswers.sessions(handover), () -> KhoRender.sessions(handover));
                return Exit.OK;
              });
        });
  }

  private static CommandSpec dump() {
    return reading(
            "dump",
            "Writes what is handed over to a file: the state tree, a sub-tree, or a memfd's content.",
            KhoCommands::dump)
        .addOption(
            OptionSpec.builder("--to")
                .type(String.class)
                .paramLabel("FILE")
                .required(true)
                .description("The file, which must not be there yet.")
                .build())
        .addPositional(
            PositionalParamSpec.builder()
                .index("0")
                .type(String.class)
                .paramLabel("tree|SUB-TREE|SESSION/TOKEN")
                .required(true)
                .description(
                    "What: \"tree\", a sub-tree's name as in the state tree, or a memfd as kho sessions lists it.")
                .build());
  }

  private static Exit dump(Invocation invocation) {
    String what = invocation.argument();
    String to = invocation.option("--to", String.class).orElseThrow();
    return with(
        invocation,
        (handover, memory) -> {
          int slash = what.lastIndexOf('/');
          long size;
          if (slash < 0) {
            MemorySegment bytes =
                what.equals("tree")
                    ? memory.at(handover.state().address(), handover.state().size())
                    : subTree(invocation, handover, what);
            size = written(invocation, to, out -> write(out, bytes));
          } else {
            Memfd memfd =
                memfd(invocation, handover, what.substring(0, slash), what.substring(slash + 1));
            size =
                written(
                    invocation,
                    to,
                    out ->
                        memfd.content(memory, handover.map(), (_, bytes) -> writeAll(out, bytes)));
          }
          invocation.print(
              JsonObject.of("file", to, "bytes", size), () -> size + " bytes are in " + to + "\n");
          return Exit.OK;
        });
  }

  private static MemorySegment subTree(Invocation invocation, Handover handover, String name) {
    for (StateTree.SubTree each : handover.state().subTrees()) {
      if (each.name().equals(name)) {
        return handover.memory().at(each.address(), each.size());
      }
    }
    throw failure(
        invocation,
        "io.holdfast.kho.NotThere",
        "there is no sub-tree "
            + name
            + ", only "
            + String.join(
                ", ", handover.state().subTrees().stream().map(StateTree.SubTree::name).toList()));
  }

  private static Memfd memfd(
      Invocation invocation, Handover handover, String session, String token) {
    List<Session> sessions = handover.luo().map(each -> each.sessions()).orElse(List.of());
    for (Session each : sessions) {
      for (PreservedFile file : each.files()) {
        if (each.name().equals(session) && KhoRender.token(file).equals(token)) {
          if (file.state() instanceof Memfd memfd) {
            return memfd;
          }
          throw failure(
              invocation,
              "io.holdfast.kho.NotThere",
              session + "/" + token + " is no memfd that can be read: " + KhoRender.state(file));
        }
      }
    }
    throw failure(
        invocation,
        "io.holdfast.kho.NotThere",
        "there is no file " + session + "/" + token + "; kho sessions lists them");
  }

  private interface Writing {
    void to(WritableByteChannel out) throws IOException;
  }

  private static long written(Invocation invocation, String to, Writing writing) {
    Path file = Path.of(invocation.shell().absolute(to));
    if (Files.exists(file)) {
      throw failure(invocation, "io.holdfast.cli.NotWritten", to + " is there already");
    }
    boolean whole = false;
    try {
      try (WritableByteChannel out =
          Channels.newChannel(Files.newOutputStream(file, StandardOpenOption.CREATE_NEW))) {
        writing.to(out);
        whole = true;
      } finally {
        if (!whole && Files.exists(file)) {
          Files.delete(file);
        }
      }
      return Files.size(file);
    } catch (IOException | UncheckedIOException | IllegalStateException e) {
      throw failure(
          invocation,
          "io.holdfast.cli.NotWritten",
          to + " can't be written: " + e.getClass().getSimpleName() + ": " + e.getMessage());
    }
  }

  private static void write(WritableByteChannel out, MemorySegment bytes) throws IOException {
    for (long at = 0; at < bytes.byteSize(); at += CHUNK) {
      byte[] chunk =
          bytes.asSlice(at, Math.min(CHUNK, bytes.byteSize() - at)).toArray(ValueLayout.JAVA_BYTE);
      ByteBuffer buffer = ByteBuffer.wrap(chunk);
      while (buffer.hasRemaining()) {
        var _ = out.write(buffer);
      }
    }
  }

  private static void writeAll(WritableByteChannel out, MemorySegment bytes) {
    try {
      write(out, bytes);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static CommandSpec verify() {
    CommandSpec spec =
        reading(
            "verify",
            "Checks all of it: each page preserved once, none in scratch, every pointer and count.",
            invocation ->
                opened(
                    invocation,
                    (memory, start) -> {
                      Handover.Verification found = Handover.verify(memory, start);
                      invocation.print(
                          KhoAnswers.verification(found), () -> KhoRender.verification(found));
                      if (!invocation.json()) {
                        for (Defect each : found.defects()) {
                          invocation.shell().err().println(Table.clean(each.toString()));
                        }
                      }
                      return found.clean() ? Exit.OK : Exit.FAILED;
                    }));
    spec.usageMessage()
        .footer(
            "%nExits 0 if nothing is wrong, else 1, with each violation on a line of its own: rule, address, where, what"
                + " was found, what was expected.");
    return spec;
  }

  // Where it is read from.

  private static boolean live(Invocation invocation) {
    return invocation.option("--core", String.class).isEmpty();
  }

  /** Reads a handover, and has something done with it. */
  private static Exit with(
      Invocation invocation, BiFunction<Handover, PhysicalMemory, Exit> action) {
    return opened(
        invocation, (memory, start) -> action.apply(Handover.read(memory, start), memory));
  }

  private static Exit opened(
      Invocation invocation, BiFunction<PhysicalMemory, StartingPoint, Exit> action) {
    Optional<String> file = invocation.option("--core", String.class);
    return attempt(
        invocation,
        () -> {
          if (file.isPresent()) {
            try (ElfCore core = ElfCore.open(Path.of(invocation.shell().absolute(file.get())))) {
              return action.apply(core, start(invocation, core, file.get()));
            }
          }
          LiveHost host = LiveHost.read(LiveHost.DEBUGFS);
          try (KernelCore core = KernelCore.open(KernelCore.PROC_KCORE)) {
            Optional<Long> root = invocation.option("--root", Long.class);
            StartingPoint start =
                root.isPresent()
                    ? StartingPoint.at(root.get(), host.scratch())
                    : host.start(core)
                        .orElseThrow(
                            () ->
                                failure(
                                    invocation,
                                    "io.holdfast.kho.NotKnown",
                                    String.join(" ", host.notKnown())
                                        + " Give its physical address, if you know it: --root ADDRESS"));
            return action.apply(core, start);
          } catch (IOException e) {
            throw new MemoryException(KernelCore.PROC_KCORE + ": " + e.getMessage(), e);
          }
        });
  }

  private static StartingPoint start(Invocation invocation, ElfCore core, String file) {
    Optional<Long> root = invocation.option("--root", Long.class);
    Optional<StartingPoint> found;
    try {
      found = StartingPoint.find(core);
    } catch (IllegalStateException e) {
      if (root.isEmpty()) {
        throw failure(invocation, "io.holdfast.kho.NotKnown", e.getMessage() + ": --root ADDRESS");
      }
      found = Optional.empty();
    }
    if (root.isPresent()) {
      long address = root.get();
      return found
          .filter(each -> each.stateTree() == address)
          .orElseGet(() -> StartingPoint.at(address));
    }
    return found.orElseThrow(
        () ->
            failure(
                invocation,
                "io.holdfast.kho.NotThere",
                file
                    + " has no state of Kexec HandOver in it: that kernel has none, or it is not switched on (kho=on),"
                    + " or the dump leaves it out"));
  }

  private static <T> T attempt(Invocation invocation, Supplier<T> action) {
    try {
      return action.get();
    } catch (DefectException e) {
      throw failure(
          invocation,
          DEFECT,
          e.defect() + ". All that is wrong: holdfast kho verify, with the same options");
    } catch (MemoryException e) {
      throw failure(invocation, MEMORY, String.valueOf(e.getMessage()));
    }
  }

  private static Failure failure(Invocation invocation, String error, String message) {
    return new Failure(Exit.FAILED, error, invocation.command() + ": " + message);
  }
}
