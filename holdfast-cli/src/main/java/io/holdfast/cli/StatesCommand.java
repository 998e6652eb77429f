package io.holdfast.cli;

import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.MemoryMachine;
import io.holdfast.core.state.MemoryOperation;
import io.holdfast.core.state.MemoryState;
import io.holdfast.core.state.Operation;
import io.holdfast.core.state.StateTables;
import io.holdfast.core.state.UpdateMachine;
import io.holdfast.core.state.UpdateState;
import io.holdfast.varlink.json.JsonObject;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import picocli.CommandLine.Model.CommandSpec;

/** {@code holdfast states}: the tables that the state machines obey. It needs no agent. */
final class StatesCommand {
  private StatesCommand() {}

  static CommandSpec states() {
    return CommandLineInterface.command(
        "states",
        "Prints the tables of the state machines: what follows what, and what each state permits.",
        invocation -> {
          invocation.print(json(), StateTables::print);
          return Exit.OK;
        });
  }

  /**
   * {@code {"update":{CARRIER:[{state,phase,next,permissions}]},"memory":[{state,next,permits}]}}.
   */
  private static JsonObject json() {
    Map<String, Object> update = new LinkedHashMap<>();
    for (CarrierKind carrier : CarrierKind.values()) {
      List<JsonObject> states = new ArrayList<>();
      for (UpdateState state : UpdateState.values()) {
        if (UpdateMachine.next(state, carrier).isEmpty()) {
          continue; // The carrier has no such state.
        }
        Map<String, String> permissions = new LinkedHashMap<>();
        for (Operation operation : Operation.values()) {
          permissions.put(
              operation.words(), UpdateMachine.permission(state, operation, carrier).words());
        }
        states.add(
            JsonObject.of(
                "state",
                state.name(),
                "phase",
                state.phase().name().toLowerCase(Locale.ROOT),
                "next",
                names(UpdateState.values(), UpdateMachine.next(state, carrier)),
                "permissions",
                permissions));
      }
      update.put(carrier.name().toLowerCase(Locale.ROOT), states);
    }
    List<JsonObject> memory = new ArrayList<>();
    for (MemoryState state : MemoryState.values()) {
      List<String> permits = new ArrayList<>();
      for (MemoryOperation operation : MemoryOperation.values()) {
        if (MemoryMachine.permitting(operation).contains(state)) {
          permits.add(operation.words());
        }
      }
      memory.add(
          JsonObject.of(
              "state",
              state.name(),
              "next",
              names(MemoryState.values(), MemoryMachine.next(state)),
              "permits",
              permits));
    }
    return JsonObject.of("update", update, "memory", memory);
  }

  /** The names in the order of the enum, whatever the order of the set. */
  private static <E extends Enum<E>> List<String> names(E[] all, Collection<E> some) {
    return Arrays.stream(all).filter(some::contains).map(Enum::name).toList();
  }
}
