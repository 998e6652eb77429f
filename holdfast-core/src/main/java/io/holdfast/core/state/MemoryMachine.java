package io.holdfast.core.state;

import static io.holdfast.core.state.MemoryState.ACTIVE;
import static io.holdfast.core.state.MemoryState.FINALIZED;
import static io.holdfast.core.state.MemoryState.HANDED_OVER;
import static io.holdfast.core.state.MemoryState.INACTIVE;
import static io.holdfast.core.state.MemoryState.RECEIVED;
import static io.holdfast.core.state.MemoryState.RELEASED;
import static io.holdfast.core.state.MemoryState.RESTORED;

import java.util.EnumSet;
import java.util.Set;

/**
 * The state of preserved memory on one kernel, with its transition table and its permission table.
 * The kexec carrier goes through it; scenario {@code luo-states} compares it with the kernel. Safe
 * for use by many threads.
 */
public final class MemoryMachine {
  private MemoryState state;

  private MemoryMachine(MemoryState start) {
    state = start;
  }

  /** The machine of the side that hands memory over; it starts {@link MemoryState#INACTIVE}. */
  public static MemoryMachine outgoing() {
    return new MemoryMachine(INACTIVE);
  }

  /** The machine of the side that was given memory; it starts {@link MemoryState#RECEIVED}. */
  public static MemoryMachine incoming() {
    return new MemoryMachine(RECEIVED);
  }

  /** The states that may follow {@code state} on the same side. */
  public static Set<MemoryState> next(MemoryState state) {
    return switch (state) {
      case INACTIVE -> Set.of(ACTIVE);
      case ACTIVE -> Set.of(FINALIZED);
      case FINALIZED -> Set.of(HANDED_OVER, ACTIVE);
      case RECEIVED -> Set.of(RESTORED);
      case RESTORED -> Set.of(RELEASED);
      case HANDED_OVER, RELEASED -> Set.of();
    };
  }

  /** The states that permit {@code operation}. */
  public static Set<MemoryState> permitting(MemoryOperation operation) {
    return switch (operation) {
      case PRESERVE, UNPRESERVE -> EnumSet.of(ACTIVE);
      // The kernel gives the same file again until it is released.
      case RETRIEVE -> EnumSet.of(RECEIVED, RESTORED);
      // The kernel freezes a memfd's size from preserve on.
      case RESIZE -> EnumSet.of(INACTIVE, RESTORED, RELEASED);
      // Finalizing happens inside the reboot call; from then on no other thread may call.
      case CALL_LUO -> EnumSet.of(INACTIVE, ACTIVE, RECEIVED, RESTORED, RELEASED);
    };
  }

  /** The state at this moment. */
  public synchronized MemoryState state() {
    return state;
  }

  /**
   * Goes to another state.
   *
   * @throws RefusedException if the table has no such transition; the state is then unchanged
   */
  public synchronized void enter(MemoryState to) {
    Set<MemoryState> next = next(state);
    if (!next.contains(to)) {
      throw new RefusedException(
          "taking preserved memory to " + to,
          state.toString(),
          next.isEmpty()
              ? "nothing follows on this side"
              : "from here it can go to " + EnumSet.copyOf(next));
    }
    state = to;
  }

  /** Enters {@link MemoryState#ACTIVE}, before something is preserved, unless it did before. */
  public synchronized void begin() {
    if (state == INACTIVE) {
      enter(ACTIVE);
    }
  }

  /**
   * Checks an operation.
   *
   * @param on what it is done to, for the message, such as {@code memfd ram}
   * @throws RefusedException if the state refuses it
   */
  public synchronized void check(MemoryOperation operation, String on) {
    Set<MemoryState> permitting = permitting(operation);
    if (!permitting.contains(state)) {
      throw new RefusedException(
          operation.words() + " on " + on,
          state.toString(),
          "it is allowed in " + EnumSet.copyOf(permitting));
    }
  }
}
