package io.holdfast.varlink.json;

/**
 * Text is not the JSON that was expected, or a value is not of the type that was asked for. The
 * message says where, what was expected and what was there.
 */
public final class JsonException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  JsonException(String message) {
    super(message);
  }

  JsonException(String message, Throwable cause) {
    super(message, cause);
  }
}
