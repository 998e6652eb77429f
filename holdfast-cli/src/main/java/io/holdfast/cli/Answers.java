package io.holdfast.cli;

import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Function;

/**
 * The types of the agent's interfaces {@code io.holdfast.Vm}, {@code io.holdfast.Update} and {@code
 * io.holdfast.Agent} as records, read from its replies. Each {@code of} throws a {@link
 * JsonException} that names the key that is missing or of another type.
 */
final class Answers {
  private Answers() {}

  /** {@code io.holdfast.Vm.Disk}. */
  record Disk(String path, Optional<String> format, boolean readOnly) {
    static Disk of(JsonObject json) {
      return new Disk(
          json.string("path"),
          json.optionalString("format"),
          json.optionalBool("readOnly").orElse(false));
    }
  }

  /** {@code io.holdfast.Vm.HostForward}. */
  record HostForward(Optional<String> address, long port, long guestPort) {
    static HostForward of(JsonObject json) {
      return new HostForward(
          json.optionalString("address"), json.number("port"), json.number("guestPort"));
    }
  }

  /** {@code io.holdfast.Vm.Network}. */
  record Network(
      String kind,
      Optional<String> mac,
      Optional<String> bridge,
      OptionalLong queues,
      List<HostForward> forwards) {
    static Network of(JsonObject json) {
      return new Network(
          json.string("kind"),
          json.optionalString("mac"),
          json.optionalString("bridge"),
          json.optionalNumber("queues"),
          json.optionalArray("hostForwards").isPresent()
              ? each(json, "hostForwards", HostForward::of)
              : List.of());
    }
  }

  /** {@code io.holdfast.Vm.Definition}, as far as it says more than the state of its VM. */
  record Definition(
      Optional<String> hugePages,
      Optional<String> kernel,
      Optional<String> initrd,
      Optional<String> append,
      List<Disk> disks,
      List<Network> networks,
      List<String> extra) {
    /** That of a VM that Holdfast did not start. */
    static final Definition NONE =
        new Definition(
            Optional.empty(),
            Optional.empty(),
            Optional.empty(),
            Optional.empty(),
            List.of(),
            List.of(),
            List.of());

    static Definition of(JsonObject json) {
      return new Definition(
          json.optionalString("hugePages"),
          json.optionalString("kernel"),
          json.optionalString("initrd"),
          json.optionalString("append"),
          each(json, "disks", Disk::of),
          json.optionalArray("networks").isPresent()
              ? each(json, "networks", Network::of)
              : List.of(),
          json.array("extra").strings());
    }
  }

  /** {@code io.holdfast.Vm.State}; memory in bytes. */
  record Vm(
      String name,
      String state,
      Optional<String> reason,
      OptionalLong pid,
      long generation,
      String qemu,
      String qemuVersion,
      String machine,
      String cpu,
      String accelerator,
      String acceleratorReason,
      long memory,
      long cpus,
      String consoleLog,
      List<Channel> channels,
      List<Drive> cdroms,
      Definition definition) {
    /** {@code io.holdfast.Vm.Drive}. */
    record Drive(String drive, Optional<String> medium) {
      static Drive of(JsonObject json) {
        return new Drive(json.string("drive"), json.optionalString("medium"));
      }
    }

    /** {@code io.holdfast.Vm.Channel}. */
    record Channel(String name, String socket) {
      static Channel of(JsonObject json) {
        return new Channel(json.string("name"), json.string("socket"));
      }
    }

    static Vm of(JsonObject json) {
      return new Vm(
          json.string("name"),
          json.string("state"),
          json.optionalString("reason"),
          json.optionalNumber("pid"),
          json.number("generation"),
          json.string("qemu"),
          json.string("qemuVersion"),
          json.string("machine"),
          json.string("cpu"),
          json.string("accelerator"),
          json.string("acceleratorReason"),
          json.number("memory"),
          json.number("cpus"),
          json.string("consoleLog"),
          json.optionalArray("channels").isPresent()
              ? each(json, "channels", Channel::of)
              : List.of(),
          json.optionalArray("cdroms").isPresent() ? each(json, "cdroms", Drive::of) : List.of(),
          json.optionalObject("definition").map(Definition::of).orElse(Definition.NONE));
    }
  }

  /** The reply of {@code io.holdfast.Vm.Adopt}; its obstacles stand in the way of the VM. */
  record Adoption(
      Optional<Vm> vm, List<Obstacle> obstacles, List<String> preserved, List<String> losses) {
    static Adoption of(JsonObject json) {
      return new Adoption(
          json.optionalObject("vm").map(Vm::of),
          each(
              json,
              "obstacles",
              o -> new Obstacle("", o.string("what"), o.string("why"), o.string("advice"))),
          json.array("preserved").strings(),
          json.array("losses").strings());
    }
  }

  /** {@code io.holdfast.Update.Obstacle}; without a participant for an adoption's. */
  record Obstacle(String participant, String what, String why, String advice) {
    static Obstacle of(JsonObject json) {
      return new Obstacle(
          json.string("participant"),
          json.string("what"),
          json.string("why"),
          json.string("advice"));
    }
  }

  /** {@code io.holdfast.Update.Span}; start and length in nanoseconds, the notes in their order. */
  record Span(
      String participant,
      String step,
      String state,
      String phase,
      long start,
      long length,
      Map<String, String> notes) {
    static Span of(JsonObject json) {
      JsonObject told = json.object("notes");
      Map<String, String> notes = new LinkedHashMap<>();
      for (String key : told.keys()) {
        notes.put(key, told.string(key));
      }
      return new Span(
          json.string("participant"),
          json.string("step"),
          json.string("state"),
          json.string("phase"),
          json.number("start"),
          json.number("length"),
          Collections.unmodifiableMap(notes));
    }
  }

  /**
   * How a report's blackout was measured.
   *
   * @param source {@code qemu}, {@code controller} or {@code kernel}; empty if nothing was stopped,
   *     and in the reports of older agents
   * @param reason why it is not {@code qemu}; may be empty
   * @param controller the controller's view, ns
   */
  record Measured(String source, String reason, OptionalLong controller) {
    static Measured of(JsonObject json) {
      return new Measured(
          json.optionalString("blackoutSource").orElse(""),
          json.optionalString("blackoutReason").orElse(""),
          json.optionalNumber("controllerBlackoutNanos"));
    }
  }

  /**
   * {@code io.holdfast.Update.Report}; started in milliseconds since 1970, brownout and blackout in
   * nanoseconds.
   */
  record Report(
      String id,
      String kind,
      String target,
      String outcome,
      String message,
      long started,
      long brownout,
      long blackout,
      Measured measured,
      List<Obstacle> obstacles,
      List<String> preserved,
      List<String> losses,
      List<String> risks,
      List<Span> spans) {
    static Report of(JsonObject json) {
      return new Report(
          json.string("id"),
          json.string("kind"),
          json.string("target"),
          json.string("outcome"),
          json.string("message"),
          json.number("started"),
          json.number("brownout"),
          json.number("blackout"),
          Measured.of(json),
          each(json, "obstacles", Obstacle::of),
          json.optionalArray("preserved").map(JsonArray::strings).orElse(List.of()),
          json.array("losses").strings(),
          json.optionalArray("risks").map(JsonArray::strings).orElse(List.of()),
          each(json, "spans", Span::of));
    }

    Report withoutMessage() {
      return new Report(
          id, kind, target, outcome, "", started, brownout, blackout, measured, obstacles,
          preserved, losses, risks, spans);
    }
  }

  /** {@code io.holdfast.Update.Progress}; elapsed in nanoseconds. */
  record Progress(
      String id, String target, String state, String participant, String message, long elapsed) {
    static Progress of(JsonObject json) {
      return new Progress(
          json.string("id"),
          json.string("target"),
          json.string("state"),
          json.string("participant"),
          json.string("message"),
          json.number("elapsed"));
    }
  }

  /** The reply of {@code io.holdfast.Agent.Status}; uptime in milliseconds. */
  record AgentStatus(
      String version,
      long pid,
      long uptime,
      String runDirectory,
      String keeper,
      long heldDescriptors,
      long vms,
      long recovering,
      long updates,
      List<String> recovered,
      long refusedConnections) {
    static AgentStatus of(JsonObject json) {
      return new AgentStatus(
          json.string("version"),
          json.number("pid"),
          json.number("uptime"),
          json.string("runDirectory"),
          json.string("keeper"),
          json.number("heldDescriptors"),
          json.number("vms"),
          json.optionalNumber("recovering").orElse(0),
          json.number("updates"),
          json.array("recovered").strings(),
          json.optionalNumber("refusedConnections").orElse(0));
    }
  }

  /** The objects of an array, each read by {@code of}. */
  static <T> List<T> each(JsonObject json, String key, Function<JsonObject, T> of) {
    return json.array(key).objects().stream().map(of).toList();
  }
}
