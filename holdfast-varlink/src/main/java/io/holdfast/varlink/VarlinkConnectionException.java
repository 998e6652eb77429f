package io.holdfast.varlink;

/**
 * A connection is of no more use: it ended, could not be made, or the other side broke the
 * protocol. Whether a call under way was carried out is not known.
 */
public final class VarlinkConnectionException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  VarlinkConnectionException(String message) {
    super(message);
  }

  VarlinkConnectionException(String message, Throwable cause) {
    super(message, cause);
  }
}
