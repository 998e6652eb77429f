package io.holdfast.core.journal;

import io.holdfast.core.box.Names;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** One line of a journal; {@link JournalText} writes and reads it. */
public sealed interface JournalRecord {
  /** The update that it belongs to. */
  UpdateId update();

  /**
   * The same on another time axis, as the next kernel's clock starts anew.
   *
   * @param shift what is added to every time, in nanoseconds
   */
  default JournalRecord shifted(long shift) {
    return this;
  }

  /**
   * An update began.
   *
   * @param at the time of day, kept to the millisecond
   * @param participants their names, those that others depend on first
   * @param instances {@link io.holdfast.core.participant.Participant#instance} by name, of those
   *     that have one; journals of format 0 have none
   */
  record Began(
      UpdateId update,
      CarrierKind carrier,
      Instant at,
      List<String> participants,
      Map<String, String> instances)
      implements JournalRecord {
    /** Checks the names. */
    public Began {
      participants = List.copyOf(participants);
      instances = Map.copyOf(instances);
      participants.forEach(each -> Names.check("participant name", each));
      instances.values().forEach(each -> Names.check("instance", each));
    }

    /** Whether the update may be of a participant of this name and instance. */
    public boolean of(String participant, Optional<String> instance) {
      String mine = instances.get(participant);
      return participants.contains(participant)
          && (mine == null || instance.isEmpty() || instance.get().equals(mine));
    }
  }

  /**
   * An update is about to be in a state. NORMAL ends it.
   *
   * @param nanoTime {@link io.holdfast.core.run.Workers#nanoTime} of the moment
   */
  record Entered(UpdateId update, UpdateState state, long nanoTime) implements JournalRecord {
    @Override
    public JournalRecord shifted(long shift) {
      return new Entered(update, state, nanoTime + shift);
    }
  }

  /**
   * A call has returned. Written on kexec only, and not before the update leaves: the other side
   * shows it, and needs it for nothing else.
   *
   * @param began {@link io.holdfast.core.run.Workers#nanoTime} of the moment
   * @param ended the same
   */
  record Called(UpdateId update, String participant, Action action, long began, long ended)
      implements JournalRecord {
    /** Checks the name. */
    public Called {
      Names.check("participant name", participant);
    }

    @Override
    public JournalRecord shifted(long shift) {
      return new Called(update, participant, action, began + shift, ended + shift);
    }
  }

  /**
   * A participant's own fact, from {@link io.holdfast.core.participant.Step#record}.
   *
   * @param key keeps to {@link Names#RULE}
   * @param value at most {@link #LONGEST} characters of any kind
   */
  record Fact(UpdateId update, String participant, String key, String value)
      implements JournalRecord {
    /** The longest value, in characters. */
    public static final int LONGEST = 1024;

    /** Checks names and length. */
    public Fact {
      Names.check("participant name", participant);
      Names.check("key", key);
      if (value.length() > LONGEST) {
        throw new IllegalArgumentException(
            "the value of "
                + key
                + " has "
                + value.length()
                + " characters; a journal takes "
                + LONGEST
                + " at most: put it into a box");
      }
    }
  }
}
