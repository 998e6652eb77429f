package io.holdfast.vm.spec;

import io.holdfast.linux.Fd;
import io.holdfast.vm.option.OptionText;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * QEMU's command line. It is made once, when the VM starts, as a template that is a part of the
 * {@link VmSpec}; every generation is started with exactly that, and differs in the numbers of its
 * descriptors and in {@code -incoming} only.
 *
 * <p>{@code ${fd:LABEL}} stands for the number under which QEMU inherits the descriptor LABEL: what
 * is in the VM's box, what its backends opened, and {@code qmp}, its listening control socket.
 */
public final class CommandLine {
  /** The label of the listening control socket, one per generation. */
  public static final String QMP = "qmp";

  /** The number of the control socket, by which a QEMU that nobody wrote down is found again. */
  public static final int QMP_NUMBER = 3;

  /** The label of guest RAM: the memfd. */
  public static final String RAM = "ram";

  /** The label of the descriptor of the kernel that the guest boots. */
  public static final String KERNEL = "kernel";

  /** The label of the descriptor of its initrd. */
  public static final String INITRD = "initrd";

  private static final String POPULATED = ",prealloc=on";

  private static final Pattern PLACEHOLDER = Pattern.compile("\\$\\{fd:([^}]*)}");
  private static final Pattern IN_SET = Pattern.compile("set=(\\d+),fd=\\$\\{fd:([^}]*)}");
  private static final Pattern SET = Pattern.compile("/dev/fdset/(\\d+)");

  private CommandLine() {}

  /** What a QEMU is started for. */
  public enum Start {
    /** A guest boots. */
    BOOT(true, false),

    /** A guest still runs in a predecessor, and all its RAM is there: it is mapped meanwhile. */
    SUCCEED(true, true),

    /** A guest is paused, or has given RAM back: RAM is mapped where it is used. */
    SUCCEED_LATE(false, true);

    /** Whether all RAM is mapped before this QEMU answers, taking what is not there yet. */
    public final boolean populates;

    /** Whether it waits for a device state in place of booting. */
    public final boolean incoming;

    Start(boolean populates, boolean incoming) {
      this.populates = populates;
      this.incoming = incoming;
    }
  }

  /** The machine that a template is made for; sizes in bytes. */
  public record Machine(
      String name, String type, String accelerator, String cpu, int cpus, long memory) {}

  /**
   * What a VM boots from, if not from a disk.
   *
   * @param append its command line
   */
  public record Boot(boolean kernel, boolean initrd, Optional<String> append) {}

  /**
   * Makes the template.
   *
   * @param extra further arguments, given to every generation as they are
   * @throws IllegalArgumentException if the machine has no place for all devices, or an argument
   *     has a placeholder of its own
   */
  public static List<String> template(
      Machine machine, Boot boot, List<Device> devices, List<String> extra) {
    List<String> args = new ArrayList<>();
    add(args, "-name", "guest=" + machine.name());
    args.add("-nodefaults");
    args.add("-no-user-config");
    add(args, "-display", "none");
    String pcOnly = machine.type().startsWith("microvm") ? "" : ",usb=off,vmport=off";
    add(args, "-machine", machine.type() + ",memory-backend=ram0" + pcOnly);
    add(
        args,
        "-accel",
        machine.accelerator().equals("tcg") ? "tcg,thread=multi" : machine.accelerator());
    add(args, "-cpu", machine.cpu());
    add(args, "-smp", Integer.toString(machine.cpus()));
    add(args, "-m", "size=" + machine.memory() / 1024 + "k");
    // prealloc: the first one takes all it was promised at start, a successor maps it before the
    // guest stops, if it runs: see Start.
    add(
        args,
        "-object",
        "memory-backend-file,id=ram0,size=%d,mem-path=%s,share=on"
                .formatted(machine.memory(), path(RAM))
            + POPULATED);
    add(args, "-chardev", "socket,id=qmp,fd=" + fd(QMP) + ",server=on,wait=off");
    add(args, "-mon", "chardev=qmp,mode=control");
    if (boot.kernel()) {
      add(args, "-kernel", path(KERNEL));
    }
    if (boot.initrd()) {
      add(args, "-initrd", path(INITRD));
    }
    if (boot.append().isPresent()) {
      add(args, "-append", own(boot.append().get()));
    }
    Slots slots = new Slots(machine.type());
    devices.forEach(device -> args.addAll(device.arguments(slots)));
    extra.forEach(argument -> args.add(own(argument)));
    return args;
  }

  /** Stands for the number of a descriptor. */
  public static String fd(String label) {
    return "${fd:" + label + "}";
  }

  /** Stands for a path that opens what a descriptor is open on. */
  public static String path(String label) {
    return "/proc/self/fd/" + fd(label);
  }

  private static String own(String argument) {
    if (PLACEHOLDER.matcher(argument).find()) {
      throw new IllegalArgumentException(
          "\"" + argument + "\": ${fd:…} stands for a descriptor of Holdfast's, and can't be used");
    }
    return argument;
  }

  private static void add(List<String> args, String option, String value) {
    args.add(option);
    args.add(value);
  }

  /** QEMU's option syntax doubles a comma that belongs to a value. */
  public static String escaped(String value) {
    return value.replace(",", ",,");
  }

  /**
   * The numbers under which a generation inherits its descriptors: from {@link #QMP_NUMBER} on, the
   * control socket first.
   */
  public static Map<String, Integer> numbers(Map<String, Fd> descriptors) {
    Map<String, Integer> numbers = new LinkedHashMap<>();
    numbers.put(QMP, QMP_NUMBER);
    for (String label : new TreeMap<>(descriptors).keySet()) {
      numbers.putIfAbsent(label, QMP_NUMBER + numbers.size());
    }
    return numbers;
  }

  /**
   * The command line of one generation.
   *
   * @throws IllegalArgumentException if the template names a descriptor that there is none of
   */
  public static List<String> of(
      String qemu, VmSpec spec, Map<String, Integer> numbers, Start start) {
    List<String> args = new ArrayList<>();
    args.add(qemu);
    args.addAll(
        filled(
            spec.arguments().stream()
                .filter(each -> start.populates || !each.equals("-mem-prealloc"))
                .map(each -> start.populates ? each : unpopulated(each))
                .toList(),
            numbers));
    if (start.incoming) {
      // Paused after the load until the commit; a first generation starts by itself.
      args.add("-S");
      add(args, "-incoming", "defer");
    }
    return args;
  }

  private static String unpopulated(String argument) {
    // As text or as JSON.
    boolean backend =
        argument.startsWith("memory-backend-")
            || (argument.startsWith("{") && argument.contains("memory-backend-"));
    return backend
        ? OptionText.parse(argument, "qom-type").without("prealloc").toString()
        : argument;
  }

  /**
   * The labels of the descriptors that a template gives to block devices, by descriptor sets:
   * images. Each QEMU must have open files of its own there, as an image's locks are its open
   * file's.
   */
  public static Set<String> images(List<String> template) {
    Map<String, List<String>> sets = new HashMap<>();
    Set<String> opened = new HashSet<>();
    for (int i = 1; i < template.size(); i++) {
      String value = template.get(i);
      switch (template.get(i - 1)) {
        case "-add-fd" -> {
          Matcher in = IN_SET.matcher(value);
          if (in.matches()) {
            sets.computeIfAbsent(in.group(1), _ -> new ArrayList<>()).add(in.group(2));
          }
        }
        case "-blockdev", "-drive" ->
            SET.matcher(value).results().forEach(set -> opened.add(set.group(1)));
        default -> {}
      }
    }
    Set<String> labels = new HashSet<>();
    opened.forEach(set -> labels.addAll(sets.getOrDefault(set, List.of())));
    return labels;
  }

  /**
   * A template with the numbers of its descriptors.
   *
   * @throws IllegalArgumentException if the command line names a descriptor without a number
   */
  public static List<String> filled(List<String> template, Map<String, Integer> numbers) {
    return template.stream()
        .map(each -> PLACEHOLDER.matcher(each).replaceAll(found -> number(found.group(1), numbers)))
        .toList();
  }

  private static String number(String label, Map<String, Integer> numbers) {
    Integer number = numbers.get(label);
    if (number == null) {
      throw new IllegalArgumentException(
          "the command line needs descriptor " + label + ", and there are " + numbers.keySet());
    }
    return Matcher.quoteReplacement(number.toString());
  }
}
