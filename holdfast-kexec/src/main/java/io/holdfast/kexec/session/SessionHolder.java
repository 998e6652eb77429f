package io.holdfast.kexec.session;

import io.holdfast.linux.Fd;

/**
 * Who holds the sessions that are on their way open besides the agent: systemd, which takes what is
 * in its descriptor store along, and has it there again on the other side.
 */
public interface SessionHolder {
  /** Nobody: the sessions are undone if the agent dies, and are found by their names elsewhere. */
  SessionHolder NOBODY =
      new SessionHolder() {
        @Override
        public void hold(String name, Fd session) {}

        @Override
        public void letGo(String name) {}
      };

  /**
   * Holds a session from now on.
   *
   * @param session borrowed
   * @throws RuntimeException if it can't be held
   */
  void hold(String name, Fd session);

  /** Lets go of one, which undoes it; one that is not held, or can't be let go of, is no error. */
  void letGo(String name);
}
