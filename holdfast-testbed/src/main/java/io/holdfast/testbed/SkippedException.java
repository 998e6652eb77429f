package io.holdfast.testbed;

/** Something that a scenario needs is missing; the message says what, and how to get it. */
public final class SkippedException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** Skips, for this reason. */
  public SkippedException(String reason) {
    super(reason);
  }
}
