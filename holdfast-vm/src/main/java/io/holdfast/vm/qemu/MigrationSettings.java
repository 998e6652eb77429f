package io.holdfast.vm.qemu;

import io.holdfast.varlink.json.JsonObject;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * What a QEMU's migrations are set to (QEMU's qapi/migration.json). Who started it, or has another
 * monitor of it, may have set anything: an update uses its own settings, and a cancelled one puts
 * back what it found.
 *
 * @param capabilities those that are on
 * @param parameters those of {@link #ORDINARY} that this QEMU has, with their values
 */
public record MigrationSettings(Set<String> capabilities, Map<String, Object> parameters) {
  /** What an update needs: guest RAM stays where it is, and how it goes on is told. */
  private static final Set<String> OURS = Set.of("events", "x-ignore-shared");

  /** Parameters that would make another thing of an update, and what they must be. */
  private static final Map<String, Object> ORDINARY =
      Map.of("tls-creds", "", "tls-hostname", "", "mode", "normal");

  /** Only some hundred KiB of device state go this way, and QEMU's default would pace them. */
  private static final String BANDWIDTH = "max-bandwidth";

  private static final long UNPACED = 1L << 40;

  public MigrationSettings {
    capabilities = Set.copyOf(capabilities);
    parameters = Map.copyOf(parameters);
  }

  /** Asks a QEMU. */
  public static MigrationSettings of(Qmp qmp) throws QmpException {
    Set<String> on = new TreeSet<>();
    for (JsonObject each : qmp.execute("query-migrate-capabilities").array("return").objects()) {
      if (each.bool("state")) {
        on.add(each.string("capability"));
      }
    }
    JsonObject told = qmp.execute("query-migrate-parameters").object("return");
    Map<String, Object> parameters = new TreeMap<>();
    for (String name : ORDINARY.keySet()) {
      told.get(name).ifPresent(value -> parameters.put(name, value));
    }
    told.get(BANDWIDTH).ifPresent(value -> parameters.put(BANDWIDTH, value));
    return new MigrationSettings(on, parameters);
  }

  /** What of it an update takes back, for people: what somebody else has set. */
  public List<String> foreign() {
    List<String> foreign = new ArrayList<>();
    capabilities.stream().filter(each -> !OURS.contains(each)).sorted().forEach(foreign::add);
    parameters.forEach(
        (name, value) -> {
          if (ORDINARY.containsKey(name) && !value.equals(ORDINARY.get(name))) {
            foreign.add(name + "=" + value);
          }
        });
    return foreign;
  }

  /** Sets a QEMU of which this was asked to what an update needs. */
  public void replace(Qmp qmp) throws QmpException {
    Map<String, Object> wanted = new TreeMap<>();
    parameters.keySet().forEach(name -> wanted.put(name, ORDINARY.getOrDefault(name, UNPACED)));
    var _ = qmp.execute("migrate-set-parameters", JsonObject.copyOf(wanted));
    Set<String> off = new TreeSet<>(capabilities);
    off.removeAll(OURS);
    set(qmp, OURS, off);
  }

  /** Puts back what there was before {@link #replace}. */
  public void restore(Qmp qmp) throws QmpException {
    Set<String> off = new TreeSet<>(OURS);
    off.removeAll(capabilities);
    set(qmp, capabilities, off);
    var _ = qmp.execute("migrate-set-parameters", JsonObject.copyOf(parameters));
  }

  /** As an update's journal has it. */
  public JsonObject json() {
    return JsonObject.of(
        "capabilities",
        capabilities.stream().sorted().toList(),
        "parameters",
        JsonObject.copyOf(new TreeMap<>(parameters)));
  }

  /** Reads what {@link #json} wrote. */
  public static MigrationSettings of(JsonObject json) {
    return new MigrationSettings(
        Set.copyOf(json.array("capabilities").strings()), json.object("parameters").members());
  }

  private static void set(Qmp qmp, Set<String> on, Set<String> off) throws QmpException {
    List<JsonObject> states = new ArrayList<>();
    for (Map.Entry<Boolean, Set<String>> each : Map.of(true, on, false, off).entrySet()) {
      for (String capability : each.getValue()) {
        states.add(JsonObject.of("capability", capability, "state", each.getKey()));
      }
    }
    var _ = qmp.execute("migrate-set-capabilities", JsonObject.of("capabilities", states));
  }
}
