package io.holdfast.linux;

/** How a process ended. */
public sealed interface ExitStatus {
  /**
   * By itself.
   *
   * @param code 0 to 255, by convention 0 for success
   */
  record Exited(int code) implements ExitStatus {
    @Override
    public String toString() {
      return "exited with " + code;
    }
  }

  /**
   * By a signal.
   *
   * @param signal its number
   */
  record Killed(int signal) implements ExitStatus {
    @Override
    public String toString() {
      for (Signal s : Signal.values()) {
        if (s.number() == signal) {
          return "killed by SIG" + s;
        }
      }
      return "killed by signal " + signal;
    }
  }

  /** Whether it exited with 0. */
  default boolean success() {
    return this instanceof Exited(int code) && code == 0;
  }
}
