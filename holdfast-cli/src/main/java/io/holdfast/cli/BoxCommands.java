package io.holdfast.cli;

import static io.holdfast.cli.Table.Column.left;
import static io.holdfast.cli.Table.Column.right;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SystemCallException;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.json.JsonObject;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Optional;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.PositionalParamSpec;

/** {@code holdfast box …}: memfds that outlive who made them, the agent, and the kernel. */
final class BoxCommands {
  private static final int CHUNK = 1 << 20;
  private static final int STDIN = 0;
  private static final int STDOUT = 1;

  private BoxCommands() {}

  static CommandSpec group() {
    CommandSpec group =
        CommandLineInterface.group(
            "box", "Keeps content in memory, beyond its owner, the agent, and the kernel.");
    group.addSubcommand("put", put());
    group.addSubcommand("get", get());
    group.addSubcommand("list", list());
    group.addSubcommand("remove", remove());
    group.addSubcommand("give-up", giveUp());
    return group;
  }

  private static CommandSpec onEntry(String name, String description, Invocation.Action action) {
    CommandSpec spec = CommandLineInterface.command(name, description, action);
    return spec.addPositional(word(0, "BOX", "The box's name.").build())
        .addPositional(word(1, "LABEL", "The entry's label in it.").build());
  }

  private static PositionalParamSpec.Builder word(int index, String label, String description) {
    return PositionalParamSpec.builder()
        .index(Integer.toString(index))
        .type(String.class)
        .paramLabel(label)
        .required(true)
        .description(description);
  }

  private static String word(Invocation invocation, int index) {
    return invocation.own().matchedPositional(index).getValue();
  }

  private static JsonObject entry(Invocation invocation) {
    return JsonObject.of("box", invocation.argument(), "label", word(invocation, 1));
  }

  private static Failure failure(Invocation invocation, String error, String message) {
    return new Failure(Exit.FAILED, error, invocation.trying() + ": " + message);
  }

  private static CommandSpec put() {
    return onEntry(
            "put",
            "Puts a file's content into a box, in place of what has the label.",
            BoxCommands::put)
        .addPositional(word(2, "FILE", "The file; - for standard input.").build());
  }

  private static Exit put(Invocation invocation) {
    Linux linux = Linux.system();
    String file = word(invocation, 2);
    try (Fd memfd = linux.memfd(word(invocation, 1), 0)) {
      try {
        if (file.equals("-")) {
          // The process's own: never closed here.
          copy(linux, Fd.own(linux.kernel(), STDIN, "standard input"), memfd);
        } else {
          try (Fd from = linux.open(Path.of(invocation.shell().absolute(file)))) {
            copy(linux, from, memfd);
          }
        }
      } catch (SystemCallException e) {
        throw failure(
            invocation, "io.holdfast.cli.NotRead", file + " can't be read: " + e.getMessage());
      }
      long bytes = linux.size(memfd);
      try (Link link = invocation.connect();
          Reply reply =
              link.request("io.holdfast.Box.Put", entry(invocation).with("descriptor", 0), memfd)) {
        invocation.print(
            reply.parameters(),
            () ->
                bytes
                    + " bytes are in box "
                    + invocation.argument()
                    + " as "
                    + word(invocation, 1)
                    + "\n");
      }
    }
    return Exit.OK;
  }

  private static CommandSpec get() {
    return onEntry("get", "Writes what is in a box to standard output.", BoxCommands::get)
        .addOption(
            OptionSpec.builder("--to")
                .type(String.class)
                .paramLabel("FILE")
                .description("To a file in place of it, which must not be there yet.")
                .build());
  }

  private static Exit get(Invocation invocation) {
    Linux linux = Linux.system();
    Optional<String> to = invocation.option("--to", String.class);
    if (to.isEmpty() && invocation.json()) {
      throw CommandLineInterface.usage(
          invocation.own().commandSpec(),
          "give --json or the content to standard output, not both: --to FILE");
    }
    try (Link link = invocation.connect();
        Reply reply = link.request("io.holdfast.Box.Get", entry(invocation));
        Fd memfd =
            reply
                .descriptors()
                .take(
                    invocation.read(
                        reply.parameters(), json -> Math.toIntExact(json.number("descriptor"))));
        // Opened anew: the position of the one that came is everybody's.
        Fd from = linux.open(Path.of("/proc/self/fd/" + memfd.number()))) {
      if (to.isEmpty()) {
        // The process's own: never closed here.
        copy(linux, from, Fd.own(linux.kernel(), STDOUT, "standard output"));
        return Exit.OK;
      }
      try (Fd out =
          linux.open(
              Path.of(invocation.shell().absolute(to.get())),
              OpenFlag.CREATE,
              OpenFlag.EXCLUSIVE,
              OpenFlag.WRITE)) {
        copy(linux, from, out);
      }
      long bytes = linux.size(memfd);
      invocation.print(
          JsonObject.of("file", to.get(), "bytes", bytes),
          () -> bytes + " bytes are in " + to.get() + "\n");
      return Exit.OK;
    } catch (SystemCallException e) {
      if (e.errno() == Errno.EPIPE) {
        return Exit.FAILED; // who reads it has gone
      }
      throw failure(
          invocation,
          "io.holdfast.cli.NotWritten",
          e.errno() == Errno.EEXIST
              ? to.orElse("") + " is there already"
              : "it can't be written: " + e.getMessage());
    }
  }

  private static void copy(Linux linux, Fd from, Fd to) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment buffer = arena.allocate(CHUNK);
      for (int n = linux.read(from, buffer); n > 0; n = linux.read(from, buffer)) {
        linux.write(to, buffer.asSlice(0, n));
      }
    }
  }

  private static CommandSpec list() {
    return CommandLineInterface.command(
        "list",
        "Lists the boxes and what is in them.",
        invocation -> {
          JsonObject reply = invocation.call("io.holdfast.Box.List", JsonObject.empty());
          invocation.print(reply, () -> invocation.read(reply, BoxCommands::text));
          return Exit.OK;
        });
  }

  private static String text(JsonObject reply) {
    Table table = new Table(left("BOX"), left("LABEL"), left("KIND"), right("BYTES"));
    boolean any = false;
    StringBuilder unknown = new StringBuilder();
    for (JsonObject box : reply.array("boxes").objects()) {
      box.optionalString("unknown")
          .ifPresent(
              why ->
                  unknown
                      .append(Table.clean("Box " + box.string("name") + " is unknown: " + why))
                      .append('\n'));
      for (JsonObject entry : box.array("entries").objects()) {
        any = true;
        table.row(
            box.string("name"),
            entry.string("label"),
            entry.string("kind"),
            Long.toString(entry.number("bytes")));
      }
    }
    if (!any && unknown.isEmpty()) {
      return "Nothing is in a box. Put something in: holdfast box put BOX LABEL FILE\n";
    }
    return (any ? table.text() : "") + unknown;
  }

  private static CommandSpec giveUp() {
    CommandSpec spec =
        CommandLineInterface.command(
            "give-up",
            "Discards a box that cannot be restored from the previous kernel.",
            invocation -> {
              JsonObject reply =
                  invocation.call(
                      "io.holdfast.Box.GiveUp", JsonObject.of("box", invocation.argument()));
              invocation.print(
                  reply,
                  () ->
                      "Box "
                          + invocation.argument()
                          + " is given up. `holdfast update retry` ends the update that waits for it.\n");
              return Exit.OK;
            });
    return spec.addPositional(word(0, "BOX", "The box's name.").build());
  }

  private static CommandSpec remove() {
    return onEntry(
        "remove",
        "Takes an entry out of a box for good.",
        invocation -> {
          JsonObject reply = invocation.call("io.holdfast.Box.Remove", entry(invocation));
          invocation.print(
              reply,
              () -> "Box " + invocation.argument() + " has " + word(invocation, 1) + " no more.\n");
          return Exit.OK;
        });
  }
}
