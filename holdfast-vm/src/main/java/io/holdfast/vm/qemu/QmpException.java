package io.holdfast.vm.qemu;

import java.io.IOException;

/** QEMU refused a command, or its control channel ended: what was asked, and what QEMU said. */
public final class QmpException extends IOException {
  private static final long serialVersionUID = 1L;
  private final String errorClass;

  /**
   * A command failed.
   *
   * @param errorClass QEMU's, or {@code Closed}, {@code Timeout} or {@code Interrupted}
   * @param message what was asked, and what QEMU said
   */
  public QmpException(String errorClass, String message) {
    super(message);
    this.errorClass = errorClass;
  }

  /**
   * QEMU's error class, such as {@code GenericError}; {@code Closed} or {@code Timeout} where QEMU
   * said nothing.
   */
  public String errorClass() {
    return errorClass;
  }

  /** Whether QEMU has answered that it did not do what it was told. */
  public boolean refused() {
    return errorClass.equals("GenericError");
  }

  /** Whether QEMU has not answered in time, and may yet do what it was told. */
  public boolean late() {
    return errorClass.equals("Timeout") || errorClass.equals("Interrupted");
  }
}
