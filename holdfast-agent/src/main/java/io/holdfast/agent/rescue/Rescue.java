package io.holdfast.agent.rescue;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * What the previous kernel left for VMs on this one, where it is now, and what an agent lacks to
 * bring the VMs back. {@link RescueSurvey} reads it.
 *
 * @param sessions whether sessions of Holdfast wait in this kernel
 * @param evidence what tells that, for people: a sentence without a full stop
 * @param run the run directory
 * @param root the root file system on which VMs are to run
 * @param agent the agent of that run directory, if one runs
 * @param boxes the VMs and plain boxes that can be named, by name
 * @param missing what this host lacks besides what the boxes lack: sentences without a full stop
 * @param unknown what cannot be told, and why: sentences without a full stop
 * @param steps what to do, in this order
 * @param warnings what not to do
 */
public record Rescue(
    Sessions sessions,
    String evidence,
    Path run,
    Path root,
    Optional<Agent> agent,
    List<Box> boxes,
    List<String> missing,
    List<String> unknown,
    List<String> steps,
    List<String> warnings) {

  /** Copies the lists. */
  public Rescue {
    boxes = List.copyOf(boxes);
    missing = List.copyOf(missing);
    unknown = List.copyOf(unknown);
    steps = List.copyOf(steps);
    warnings = List.copyOf(warnings);
  }

  /** Whether sessions of Holdfast wait in this kernel for an agent that retrieves them. */
  public enum Sessions {
    /** No session waits. */
    NONE("none"),
    /** Whether one waits cannot be told without retrieving it. */
    UNKNOWN("unknown"),
    /** Sessions wait. */
    WAITING("waiting"),
    /** An agent has retrieved them; its update has not ended. */
    RETRIEVED("retrieved"),
    /** This kernel cannot give back what the previous one handed over. */
    LOST("lost");

    private final String word;

    Sessions(String word) {
      this.word = word;
    }

    /** The word for programs and people. */
    public String word() {
      return word;
    }
  }

  /** Where a VM or a box is. */
  public enum Place {
    /** An agent has it, and nothing is wrong with it. */
    SERVED("served"),
    /** An agent has it, and cannot bring it back yet. */
    NOT_BACK("not back"),
    /** Its QEMU runs; no agent has it. */
    RUNNING("running"),
    /** Its session is in the kernel; no agent has retrieved it. */
    KERNEL("kernel"),
    /** Its memory, or its session, is stored by a process of an agent that is gone. */
    STORED("stored"),
    /** Nothing is found that stores it. */
    NOT_FOUND("not found");

    private final String word;

    Place(String word) {
      this.word = word;
    }

    /** The word for programs. */
    public String word() {
      return word;
    }
  }

  /**
   * A VM or a plain box.
   *
   * @param name the VM's, or {@code @box/NAME}
   * @param bytes its memory; empty if that is not known
   * @param where for people, without a full stop
   * @param missing what its QEMU lacks here: sentences without a full stop
   */
  public record Box(
      String name, OptionalLong bytes, Place place, String where, List<String> missing) {
    /** Copies the list. */
    public Box {
      missing = List.copyOf(missing);
    }
  }

  /**
   * An agent that listens.
   *
   * @param pid its process; empty if that is not known
   * @param vms what it says of its VMs; empty if it does not answer in time
   */
  public record Agent(OptionalInt pid, Optional<List<Seen>> vms) {
    /** As messages name it. */
    public String named() {
      return pid.isPresent() ? "the agent, process " + pid.getAsInt() + "," : "the agent";
    }
  }

  /**
   * A VM as an agent shows it.
   *
   * @param state the state of {@code io.holdfast.Vm.State}
   */
  public record Seen(String name, OptionalLong bytes, String state, Optional<String> reason) {}

  /** Whether something waits, or may wait, for an agent that brings it back. */
  public boolean waits() {
    return switch (sessions) {
          case UNKNOWN, WAITING -> true;
          case RETRIEVED -> agent.isEmpty() || agent.get().vms().isEmpty();
          case NONE, LOST -> false;
        }
        || boxes.stream()
            .anyMatch(box -> box.place() != Place.SERVED && box.place() != Place.NOT_FOUND);
  }

  /** Whether something is lost, as far as can be told. */
  public boolean lost() {
    return sessions == Sessions.LOST
        || boxes.stream().anyMatch(box -> box.place() == Place.NOT_FOUND);
  }
}
