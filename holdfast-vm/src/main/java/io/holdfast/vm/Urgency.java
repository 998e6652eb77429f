package io.holdfast.vm;

/** How readily a thread gets a processor: its niceness (nice(2)). */
final class Urgency {
  /** The most readily, short of being real-time. */
  static final int MOST = -20;

  private Urgency() {}
}
