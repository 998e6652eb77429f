package io.holdfast.linux.file;

import java.io.IOException;

/** Storage did not answer in time. What was asked of it may still happen. */
public final class StorageHangsException extends IOException {
  private static final long serialVersionUID = 1;

  StorageHangsException(String message, Throwable cause) {
    super(message, cause);
  }
}
