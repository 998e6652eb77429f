package io.holdfast.testbed;

/**
 * What the kernel's console, or its silence, says is wrong.
 *
 * @param kind what it is
 * @param line the console's line that says so, or the words of whoever noticed
 */
public record Trouble(Kind kind, String line) {
  /** Kinds of trouble, the worse ones first. */
  public enum Kind {
    /** The kernel gave up. */
    PANIC,
    /** The kernel hit something that it should not have, and ended who was at it. */
    OOPS,
    /** Nothing moves: the kernel says so, or says nothing any more. */
    HANG,
    /** The locks are taken in an order, or in a place, that can hang. */
    LOCKDEP,
    /** The kernel noticed something that can't be. */
    WARN
  }

  @Override
  public String toString() {
    return kind + ": " + line;
  }
}
