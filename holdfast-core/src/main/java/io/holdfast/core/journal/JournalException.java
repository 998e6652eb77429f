package io.holdfast.core.journal;

/** A journal could not be written or read, or what it holds makes no sense. */
public final class JournalException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** Says what was tried, on what, and what to do. */
  public JournalException(String message) {
    super(message);
  }

  /** The same with a cause. */
  public JournalException(String message, Throwable cause) {
    super(message, cause);
  }
}
