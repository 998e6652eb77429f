package io.holdfast.cli;

import java.io.Serial;

/**
 * Why a command ends without doing what was asked: told to the user, and turned into the exit code.
 */
final class Failure extends RuntimeException {
  @Serial private static final long serialVersionUID = 1;

  private final Exit exit;
  private final String error;

  /**
   * @param error the name of the error for programs: the agent's own, or {@code io.holdfast.cli.…}
   * @param message what was tried, on what, why it failed and what to do, for people
   */
  Failure(Exit exit, String error, String message) {
    super(message);
    this.exit = exit;
    this.error = error;
  }

  Exit exit() {
    return exit;
  }

  String error() {
    return error;
  }

  /** The message, which is never absent. */
  String text() {
    return String.valueOf(getMessage());
  }
}
