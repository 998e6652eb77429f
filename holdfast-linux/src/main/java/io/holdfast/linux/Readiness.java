package io.holdfast.linux;

/** What a descriptor is waited for, and found to be (events of poll(2)). */
public enum Readiness {
  /** Something can be read without waiting, or the end has come. */
  READABLE(0x1),
  /** There is room to write without waiting. */
  WRITABLE(0x4),
  /**
   * The other side is gone for good, or the descriptor is in error. Found also where nobody waits
   * for it.
   */
  HUNG_UP(0x8 | 0x10 | 0x20);

  final int events;

  Readiness(int events) {
    this.events = events;
  }
}
