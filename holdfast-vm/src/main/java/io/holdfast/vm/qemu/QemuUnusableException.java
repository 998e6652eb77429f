package io.holdfast.vm.qemu;

import java.io.IOException;

/** A QEMU binary can't be used: which, why, and what to do. */
public final class QemuUnusableException extends IOException {
  private static final long serialVersionUID = 1L;
  private final String reason;
  private final String advice;

  /**
   * A binary can't be used.
   *
   * @param path the binary's
   * @param reason why, without a full stop
   * @param advice what to do, a sentence
   */
  public QemuUnusableException(String path, String reason, String advice) {
    super(path + ": " + reason + ". " + advice);
    this.reason = reason;
    this.advice = advice;
  }

  /** Likewise, with what caused it. */
  public QemuUnusableException(String path, String reason, String advice, Throwable cause) {
    this(path, reason, advice);
    initCause(cause);
  }

  /** Why it can't be used. */
  public String reason() {
    return reason;
  }

  /** What to do. */
  public String advice() {
    return advice;
  }
}
