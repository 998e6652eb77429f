package io.holdfast.vm.probe;

import io.holdfast.linux.Linux;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.qemu.Credentials;
import io.holdfast.vm.qemu.Launch;
import io.holdfast.vm.qemu.QemuBinary;
import io.holdfast.vm.qemu.QemuUnusableException;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * Asks QEMU binaries what they can do, by running each once without a machine. Answers are kept as
 * long as the file stays the same.
 */
public final class QemuProbe {
  /**
   * Never promised: Intel withdrew PCOMMIT before a processor had it, TCG's "max" of QEMU 7.2 has
   * it all the same, and QEMU 10 does not, so that a guest with it could never move on.
   */
  private static final Set<String> WITHDRAWN = Set.of("pcommit");

  private static final String FAMILY = "family";

  /** What is checked, not what the guest has. */
  private static final Set<String> CHECKS = Set.of("check", "enforce");

  private record Key(String path, BinaryIdentity identity) {}

  private final Launch launch;
  private final Map<Key, QemuBinary> known = new ConcurrentHashMap<>();
  private final Map<List<Object>, String> models = new ConcurrentHashMap<>();

  /** What was built and nothing missing: binary, machine type, accelerator, CPU. */
  private final Set<List<Object>> built = ConcurrentHashMap.newKeySet();

  private final Trials trials;
  private final VmStates states;
  private final FailedPairs failedPairs;

  /** Those for VMs whose QEMUs are other users'. */
  private final Map<Credentials, QemuProbe> others = new ConcurrentHashMap<>();

  /**
   * Makes a probe.
   *
   * @param scratch a directory for what a QEMU prints while it is probed, and for the file of pairs
   *     that failed
   */
  public QemuProbe(Linux linux, Path scratch) {
    this(new Launch(linux, scratch), new FailedPairs(scratch));
  }

  private QemuProbe(Launch launch, FailedPairs failedPairs) {
    this.launch = launch;
    this.trials = new Trials(launch);
    this.states = new VmStates(launch);
    this.failedPairs = failedPairs;
  }

  /**
   * The probe for a VM: a binary that is asked or tried for it runs with the credentials of its
   * QEMUs, since one of another user's may do anything.
   *
   * @param credentials of the VM's QEMUs; the agent's if empty
   */
  public QemuProbe as(Optional<Credentials> credentials) {
    return credentials
        .map(
            each ->
                others.computeIfAbsent(
                    each,
                    _ ->
                        new QemuProbe(
                            new Launch(launch.linux(), launch.scratch(), credentials),
                            failedPairs)))
        .orElse(this);
  }

  /** Tries whether two binaries understand one another. */
  public Trials trials() {
    return trials;
  }

  /** Tells the formats of a binary's device state. */
  VmStates states() {
    return states;
  }

  /** Remembers which pairs of binaries failed. */
  FailedPairs failedPairs() {
    return failedPairs;
  }

  /**
   * What a binary can do.
   *
   * @throws QemuUnusableException if there is no such file, it can't be executed, or it is no QEMU
   */
  public QemuBinary binary(String path) throws QemuUnusableException {
    Key key = key(path);
    QemuBinary kept = known.get(key);
    if (kept != null) {
      return kept;
    }
    QemuBinary found = running(path, "none", List.of(), qmp -> describe(path, qmp));
    known.put(key, found);
    return found;
  }

  /**
   * Expands a CPU model to its properties, so that any QEMU can be told to present exactly this
   * CPU.
   *
   * @param model as {@code -cpu} takes it, without properties or with {@code name,prop=value}
   * @param accelerator {@code tcg} or {@code kvm}
   * @return for {@code -cpu}: the featureless base model and every property that is on, enforced
   * @throws QemuUnusableException if the binary has no such model, or this host can't provide it
   */
  public String expand(QemuBinary binary, String model, String accelerator)
      throws QemuUnusableException {
    List<Object> key = List.of(key(binary.path()), model, accelerator);
    String kept = models.get(key);
    if (kept != null) {
      return kept;
    }
    String expanded =
        running(
            binary.path(),
            "none",
            List.of("-accel", accelerator),
            qmp -> expansion(qmp, binary.path(), model));
    if (expanded.contains("," + FAMILY + "=0,")) {
      expanded = unsigned(binary, model, accelerator);
    }
    models.put(key, expanded);
    return expanded;
  }

  /** An expansion that does not tell the signature: a machine with that CPU does. */
  private String unsigned(QemuBinary binary, String model, String accelerator)
      throws QemuUnusableException {
    return running(
        binary.path(),
        "q35",
        List.of("-accel", accelerator, "-cpu", model, "-m", "64M"),
        qmp -> text(signed(expanded(qmp, binary.path(), model), qmp), WITHDRAWN, List.of()));
  }

  /**
   * With the family, model and stepping of the machine's own CPU. QEMU 10 tells 0 for those of
   * {@code max}, and gives the guest others.
   */
  private static JsonObject signed(JsonObject expanded, Qmp qmp) throws IOException {
    String cpu =
        qmp.execute("query-cpus-fast").array("return").objects().getFirst().string("qom-path");
    JsonObject properties = expanded.object("props");
    for (String name : List.of(FAMILY, "model", "stepping")) {
      Object real =
          qmp.execute("qom-get", JsonObject.of("path", cpu, "property", name))
              .get("return")
              .orElseThrow();
      properties = properties.with(name, real);
    }
    return expanded.with("props", properties);
  }

  /**
   * Expands the CPU model of a running guest, all of it: what the guest has been told can't be
   * taken back. Properties of which an expansion says nothing, such as {@code kvm=off}, stay as
   * they were given.
   *
   * @param qmp of the QEMU that runs it, which knows its machine's own version of the model
   * @param path of the binary, for messages
   * @param model as its {@code -cpu} had it
   * @throws QemuUnusableException if it can't be expanded
   */
  public static String expandExactly(Qmp qmp, String path, String model) throws IOException {
    List<String> parts = List.of(model.split(",", -1));
    List<String> features = new ArrayList<>();
    List<String> others = new ArrayList<>();
    for (String part : parts.subList(1, parts.size())) {
      if (!CHECKS.contains(part.replaceFirst("=.*", ""))) {
        features.add(part.contains("=") || part.matches("[+-].*") ? part : part + "=on");
      }
    }
    String asked =
        String.join(",", parts.subList(0, 1))
            + features.stream().map(f -> "," + f).collect(Collectors.joining());
    JsonObject expanded = signed(expanded(qmp, path, asked), qmp);
    for (String feature : features) {
      if (feature.contains("=")
          && !expanded.object("props").has(feature.substring(0, feature.indexOf('=')))) {
        others.add(feature);
      }
    }
    return text(expanded, Set.of(), others);
  }

  private static String expansion(Qmp qmp, String path, String model) throws IOException {
    return text(expanded(qmp, path, model), WITHDRAWN, List.of());
  }

  private static JsonObject expanded(Qmp qmp, String path, String model) throws IOException {
    String[] parts = model.split(",", -1);
    JsonObject asked = JsonObject.of("name", parts[0]);
    JsonObject given = JsonObject.empty();
    for (int i = 1; i < parts.length; i++) {
      given = withProperty(given, parts[i], model);
    }
    if (parts.length > 1) {
      asked = asked.with("props", given);
    }
    JsonObject reply;
    try {
      reply =
          qmp.execute("query-cpu-model-expansion", JsonObject.of("type", "static", "model", asked));
    } catch (QmpException e) {
      throw new QemuUnusableException(
          path,
          "it can't provide the CPU model " + model + ": " + e.getMessage(),
          "List its models with " + path + " -cpu help.",
          e);
    }
    return reply.object("return").object("model");
  }

  private static String text(JsonObject expanded, Set<String> never, List<String> others) {
    // In the order of their names, so that one specification is one string.
    Map<String, Object> properties = new TreeMap<>(expanded.object("props").members());
    StringBuilder cpu = new StringBuilder(expanded.string("name"));
    properties.forEach(
        (name, value) -> {
          // Off is the base model's state already, and a property may be unknown to the other QEMU.
          if (!Boolean.FALSE.equals(value) && !never.contains(name)) {
            cpu.append(',')
                .append(name)
                .append('=')
                .append(Boolean.TRUE.equals(value) ? "on" : value);
          }
        });
    others.forEach(other -> cpu.append(',').append(other));
    return cpu.append(",enforce=on").toString();
  }

  private static JsonObject withProperty(JsonObject given, String property, String model)
      throws IOException {
    if (property.startsWith("+")) {
      return given.with(property.substring(1), true);
    }
    if (property.startsWith("-")) {
      return given.with(property.substring(1), false);
    }
    int equals = property.indexOf('=');
    if (equals < 1) {
      throw new IOException(
          "CPU property " + property + " in " + model + " has no value; write " + property + "=on");
    }
    String value = property.substring(equals + 1);
    Object typed =
        switch (value) {
          case "on", "true" -> true;
          case "off", "false" -> false;
          default -> value.matches("[0-9]{1,18}") ? (Object) Long.parseLong(value) : value;
        };
    return given.with(property.substring(0, equals), typed);
  }

  /**
   * What a binary says against running this specification: nothing if it would take it. The machine
   * type is looked up, and the CPU is built for real, by a QEMU of that binary that runs nothing.
   */
  public List<String> lacks(QemuBinary binary, VmSpec spec) throws QemuUnusableException {
    List<String> missing = new ArrayList<>();
    if (binary.machine(spec.machine()).isEmpty()) {
      missing.add("machine type " + spec.machine());
      return missing;
    }
    for (String capability : Set.of("x-ignore-shared", "events")) {
      if (!binary.capabilities().contains(capability)) {
        missing.add("migration capability " + capability);
      }
    }
    List<Object> key = List.of(key(binary.path()), spec.machine(), spec.accelerator(), spec.cpu());
    if (built.contains(key)) {
      return missing;
    }
    try {
      var _ =
          running(
              binary.path(),
              spec.machine(),
              List.of("-accel", spec.accelerator(), "-cpu", spec.cpu(), "-m", "64M"),
              qmp -> qmp.execute("query-status").toString());
      boolean _ = built.add(key);
    } catch (QemuUnusableException e) {
      missing.add("the guest's CPU on " + spec.machine() + ": " + e.reason());
    }
    return missing;
  }

  private interface Question<T> {
    T ask(Qmp qmp) throws IOException;
  }

  private <T> T running(String path, String machine, List<String> more, Question<T> question)
      throws QemuUnusableException {
    List<String> arguments =
        new ArrayList<>(
            List.of("-machine", machine, "-nodefaults", "-no-user-config", "-display", "none"));
    arguments.addAll(more);
    try (ExpendableQemu qemu = ExpendableQemu.start(launch, path, arguments, Map.of())) {
      try {
        return question.ask(qemu.qmp());
      } catch (QemuUnusableException e) {
        throw e;
      } catch (IOException e) {
        throw new QemuUnusableException(
            path,
            qemu.said(String.valueOf(e.getMessage())),
            "Name a qemu-system binary of version 7.2 or newer that works on this host.",
            e);
      }
    }
  }

  /**
   * Removes what the probes of an agent that was killed left; for the one agent that has the
   * directory, before it probes.
   */
  public static void removeLeftovers(Path scratch) throws IOException {
    ExpendableQemu.removeLeftovers(scratch);
    Accelerator.removeLeftovers(scratch);
  }

  /**
   * What a QEMU says of itself.
   *
   * @param path of its binary
   */
  public static QemuBinary describe(String path, Qmp qmp) throws IOException {
    JsonObject version = qmp.execute("query-version").object("return");
    JsonObject numbers = version.object("qemu");
    List<String> machines = new ArrayList<>();
    Map<String, String> aliases = new HashMap<>();
    for (JsonObject machine : qmp.execute("query-machines").array("return").objects()) {
      machines.add(machine.string("name"));
      machine
          .optionalString("alias")
          .ifPresent(alias -> aliases.put(alias, machine.string("name")));
    }
    List<String> capabilities =
        qmp.execute("query-migrate-capabilities").array("return").objects().stream()
            .map((Function<JsonObject, String>) c -> c.string("capability"))
            .toList();
    return new QemuBinary(
        path,
        numbers.number("major") + "." + numbers.number("minor") + "." + numbers.number("micro"),
        version.string("package"),
        machines,
        aliases,
        capabilities);
  }

  private static Key key(String path) throws QemuUnusableException {
    return new Key(path, BinaryIdentity.of(path));
  }
}
