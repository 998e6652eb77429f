package io.holdfast.vm.qemu;

import io.holdfast.varlink.json.JsonObject;
import java.util.stream.Stream;

/**
 * What a VM's QEMU says of its guest (query-status), as far as a guest can be in it for long, and
 * what may be done with it then. An update keeps a guest that runs or is paused; from the other
 * states QEMU's migration leads elsewhere, or there is nothing left to keep.
 */
public enum RunState {
  /** It runs. */
  RUNNING("running", "it runs", ""),

  /** It was paused, and can go on. */
  PAUSED("paused", "it is paused", ""),

  /** Paused too; but this QEMU has handed its state over already, and does so once only. */
  HANDED_OVER(
      "postmigrate",
      "it was paused when an update was undone after its QEMU had handed it over, which that does only once before the guest has run",
      "Let it run with `holdfast vm resume %s`, and pause it again if need be."),

  /** A disk could not be written or read. */
  DISK_FAILED(
      "io-error",
      "it stands still because one of its disks failed or is full",
      "Mend that, then let it try again with `holdfast vm resume %s`."),

  /** Its watchdog was not fed. */
  WATCHDOG(
      "watchdog",
      "its watchdog stopped it",
      "Look why, then let it go on with `holdfast vm resume %s`."),

  /** ACPI S3; older QEMUs wake a guest by moving it. */
  SUSPENDED(
      "suspended",
      "it sleeps (ACPI S3)",
      "Wait until it has woken up, or wake it with `holdfast vm qmp %s system_wakeup`."),

  /** Its kernel panicked. */
  PANICKED(
      "guest-panicked",
      "its kernel panicked",
      "Stop it with `holdfast vm stop %s`, and run it again from its disks."),

  /** QEMU or KVM met something that it can't emulate. */
  BROKEN(
      "internal-error",
      "its QEMU could not go on with it",
      "Stop it with `holdfast vm stop %s`, and run it again from its disks."),

  /** It has powered itself off, and its QEMU was told to stay. */
  OFF(
      "shutdown",
      "it has shut itself down",
      "Stop it with `holdfast vm stop %s`, and run it again from its disks."),

  /** Somebody else does something with this QEMU: loads, saves, debugs. */
  OTHER("", "somebody else has its QEMU at work", "Wait until that has ended.");

  private final String word;
  private final String why;
  private final String advice;

  RunState(String word, String why, String advice) {
    this.word = word;
    this.why = why;
    this.advice = advice;
  }

  /**
   * Reads the reply to {@code query-status}.
   *
   * @throws io.holdfast.varlink.json.JsonException if it is none
   */
  public static RunState of(JsonObject reply) {
    return of(reply.object("return").string("status"));
  }

  static RunState of(String word) {
    return Stream.of(values()).filter(each -> each.word.equals(word)).findFirst().orElse(OTHER);
  }

  /** Why the guest does not run, in words that follow "VM web:". */
  public String why() {
    return why;
  }

  /** What to do about it; empty where nothing is wrong. */
  public String advice(String vm) {
    return advice.replace("%s", vm);
  }

  /** Whether the user, or an update that was undone, paused it: it is let run when asked to. */
  public boolean paused() {
    return this == PAUSED || this == HANDED_OVER;
  }

  /** Whether the guest, or what it needs, stopped it: an update that is undone leaves it so. */
  public boolean byItself() {
    return switch (this) {
      case DISK_FAILED, WATCHDOG, SUSPENDED, PANICKED, BROKEN, OFF -> true;
      case RUNNING, PAUSED, HANDED_OVER, OTHER -> false;
    };
  }

  /** Whether it goes on when it is told to. */
  public boolean resumable() {
    return switch (this) {
      case PAUSED, HANDED_OVER, DISK_FAILED, WATCHDOG -> true;
      case RUNNING, SUSPENDED, PANICKED, BROKEN, OFF, OTHER -> false;
    };
  }
}
