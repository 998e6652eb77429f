package io.holdfast.vm.qemu;

/** How readily a thread gets a processor: its niceness (nice(2)). */
public final class Urgency {
  /** The most readily, short of being real-time. */
  public static final int MOST = -20;

  private Urgency() {}
}
