package io.holdfast.vm.option;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * A QEMU command line, cut into options as QEMU does it (qemu_init in softmmu/vl.c; the options'
 * arity in qemu-options.hx).
 *
 * @param program its first word
 */
public record QemuCommand(String program, List<Option> options) {
  /** What a word that is no option means: the first disk. */
  public static final String DISK = "hda";

  /** Options that take no value; all others take the next word. */
  private static final Set<String> FLAGS =
      Set.of(
          "h",
          "help",
          "version",
          "mem-prealloc",
          "no-user-config",
          "nodefaults",
          "nographic",
          "portrait",
          "full-screen",
          "win2k-hack",
          "no-fd-bootchk",
          "no-acpi",
          "no-hpet",
          "snapshot",
          "usb",
          "singlestep",
          "preconfig",
          "S",
          "s",
          "enable-kvm",
          "xen-attach",
          "xen-domid-restrict",
          "no-reboot",
          "no-shutdown",
          "daemonize",
          "only-migratable",
          "enable-sync-profile",
          "audio-help",
          "async-teardown",
          "no-kvm",
          "tdf",
          "alt-grab",
          "ctrl-grab",
          "no-quit",
          "no-frame",
          "sdl",
          "curses",
          "jitdump",
          "perfmap",
          "one-insn-per-tb");

  public QemuCommand {
    options = List.copyOf(options);
  }

  /** One option: its name without dashes, and its value if it takes one. */
  public record Option(String name, Optional<String> value) {
    /** One with a value. */
    public static Option of(String name, String value) {
      return new Option(name, Optional.of(value));
    }

    /** One without a value. */
    public static Option flag(String name) {
      return new Option(name, Optional.empty());
    }

    /** Its value; empty without one. */
    public String text() {
      return value.orElse("");
    }

    /** Its words on a command line. */
    public List<String> words() {
      return value.map(v -> List.of("-" + name, v)).orElseGet(() -> List.of("-" + name));
    }

    @Override
    public String toString() {
      return String.join(" ", words());
    }
  }

  /**
   * Cuts words into options.
   *
   * @throws IllegalArgumentException if there is no program, or the last option lacks its value
   */
  public static QemuCommand parse(List<String> words) {
    if (words.isEmpty()) {
      throw new IllegalArgumentException("an empty command line");
    }
    List<Option> options = new ArrayList<>();
    for (int i = 1; i < words.size(); i++) {
      String word = words.get(i);
      if (!word.startsWith("-")) {
        options.add(Option.of(DISK, word));
        continue;
      }
      String name = word.substring(word.startsWith("--") ? 2 : 1);
      if (FLAGS.contains(name)) {
        options.add(Option.flag(name));
      } else if (i + 1 == words.size()) {
        throw new IllegalArgumentException("option " + word + " has no value");
      } else {
        options.add(Option.of(name, words.get(++i)));
      }
    }
    return new QemuCommand(words.getFirst(), options);
  }
}
