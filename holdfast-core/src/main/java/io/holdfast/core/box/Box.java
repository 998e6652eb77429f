package io.holdfast.core.box;

import io.holdfast.core.state.Actor;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.Operation;
import io.holdfast.core.state.RefusedException;
import io.holdfast.core.state.UpdateMachine;
import io.holdfast.core.state.UpdateState;
import io.holdfast.linux.Fd;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;

/**
 * A named set of labelled entries with one owner, which nobody may change in the states of an
 * update that forbid it.
 *
 * <p>The box owns its entries: closing it closes them. Safe for use by many threads.
 */
public final class Box implements AutoCloseable {
  private final String name;
  private final String owner;
  private final Map<String, Entry> entries = new LinkedHashMap<>();
  private UpdateMachine machine = new UpdateMachine(CarrierKind.EXEC);
  private boolean closed;

  /**
   * An empty box.
   *
   * @throws IllegalArgumentException if either name breaks {@link Names#RULE}
   */
  public Box(String name, String owner) {
    this.name = Names.check("box name", name);
    this.owner = Names.check("owner", owner);
  }

  /** What the box is called. */
  public String name() {
    return name;
  }

  /** Whose it is. */
  public String owner() {
    return owner;
  }

  /**
   * Makes the box one of the boxes of an update, whose state from now on says what may be done with
   * it.
   *
   * @throws RefusedException if it is in another update, which has not ended
   */
  public synchronized void join(UpdateMachine update) {
    UpdateState state = machine.state();
    if (machine != update && state != UpdateState.NORMAL) {
      throw new RefusedException(
          "taking box " + name + " into another update",
          state.toString(),
          "wait for its update to end, or cancel it");
    }
    machine = update;
  }

  /** Takes it into the recovery of the update that it is in, also within the same process. */
  public synchronized void rejoin(UpdateMachine recovery) {
    machine = recovery;
  }

  /**
   * Takes it out of the update that it is in, which is over as far as it is concerned, and only
   * waits for others. Nobody may be running that update.
   */
  public synchronized void leave() {
    machine = new UpdateMachine(CarrierKind.EXEC);
  }

  /**
   * Puts a descriptor in, and owns it from then on. If this throws, the caller still owns it.
   *
   * @param kind what the descriptor is, such as {@code memfd}
   * @throws RefusedException if the state of the update refuses it
   * @throws IllegalArgumentException if {@code label} or {@code kind} breaks {@link Names#RULE} or
   *     the label is in use
   * @throws IllegalStateException if the box, or {@code fd}, is closed
   */
  public void put(String label, Fd fd, String kind) {
    put(label, new Entry.Descriptor(fd, kind));
  }

  /**
   * Puts a copy of a few bytes in.
   *
   * @throws IllegalArgumentException also if there are more than {@link Entry.Blob#LIMIT}
   */
  public void put(String label, byte[] blob) {
    put(label, new Entry.Blob(blob));
  }

  /** Puts an entry in, and owns it from then on; like {@link #put(String, Fd, String)}. */
  public synchronized void put(String label, Entry entry) {
    Names.check("label", label);
    machine.whilePermitted(
        Operation.PUT,
        Actor.ANYONE,
        on(label),
        () -> {
          checkOpen();
          if (entry instanceof Entry.Descriptor descriptor && !descriptor.fd().isOpen()) {
            throw new IllegalStateException(
                "put on " + on(label) + ": the descriptor is closed: " + descriptor.fd().what());
          }
          if (entries.putIfAbsent(label, entry) != null) {
            throw new IllegalArgumentException(
                "put on "
                    + on(label)
                    + ": the label is in use; remove that entry first, or choose another label");
          }
          return entry;
        });
  }

  /**
   * Takes an entry out, which the caller then owns.
   *
   * @param actor on whose behalf: while an update restores, only participants may
   * @throws RefusedException if the state of the update refuses it
   * @throws IllegalArgumentException if there is no such label
   */
  public synchronized Entry take(String label, Actor actor) {
    return machine.whilePermitted(Operation.TAKE, actor, on(label), () -> drop(label));
  }

  /**
   * Removes an entry and closes it.
   *
   * @throws RefusedException if the state of the update refuses it
   * @throws IllegalArgumentException if there is no such label
   */
  public synchronized void remove(String label) {
    machine.whilePermitted(Operation.REMOVE, Actor.ANYONE, on(label), () -> drop(label)).close();
  }

  /** The entry with this label, borrowed: the box still owns it. */
  public synchronized Optional<Entry> get(String label) {
    return Optional.ofNullable(entries.get(label));
  }

  /**
   * A copy of what is in the box, by label, in the order it was put in; the entries are borrowed.
   */
  public synchronized SequencedMap<String, Entry> entries() {
    return Collections.unmodifiableSequencedMap(new LinkedHashMap<>(entries));
  }

  /**
   * Closes every entry; does nothing the second time.
   *
   * @throws RefusedException if the state of the update refuses to remove entries; nothing is
   *     closed then
   */
  @Override
  public synchronized void close() {
    if (closed) {
      return;
    }
    machine.whilePermitted(
        Operation.REMOVE, Actor.ANYONE, "box " + name + " as a whole", () -> closed = true);
    entries.values().forEach(Entry::close);
    entries.clear();
  }

  /**
   * Closes every entry, whatever the state of the update says, for whoever gives up what the box is
   * of: nobody may be running that update any more. Does nothing the second time.
   */
  public synchronized void discard() {
    closed = true;
    entries.values().forEach(Entry::close);
    entries.clear();
  }

  private Entry drop(String label) {
    checkOpen();
    Entry entry = entries.remove(label);
    if (entry == null) {
      throw new IllegalArgumentException(
          "box " + name + " has no entry labelled \"" + label + "\"; it has " + entries.keySet());
    }
    return entry;
  }

  private void checkOpen() {
    if (closed) {
      throw new IllegalStateException("box " + name + " is closed");
    }
  }

  private String on(String label) {
    return "box " + name + ", label " + label;
  }
}
