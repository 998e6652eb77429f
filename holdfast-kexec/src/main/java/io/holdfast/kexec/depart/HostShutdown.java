package io.holdfast.kexec.depart;

import io.holdfast.core.participant.Step;
import io.holdfast.linux.Linux;
import java.io.IOException;
import java.time.Duration;

/**
 * How the rest of the host stops before its kernel is replaced, and how the next one is started.
 */
public interface HostShutdown {
  /** For a plan, in a few words. */
  String describe();

  /** How long {@link #stopTheRest} may take. */
  Duration limit();

  /**
   * Stops what does not cross, while guests run, and writes file systems out.
   *
   * @throws IOException if the rest of the host can't be stopped; nothing is undone, what was
   *     stopped stays so
   */
  void stopTheRest(Step step) throws IOException;

  /**
   * Starts the next kernel, or lets whoever does that go on.
   *
   * @throws io.holdfast.linux.SystemCallException if this kernel goes on
   * @throws IllegalStateException if the next kernel is not loaded
   */
  void leave(Linux linux);

  /**
   * Tells whoever stops the host that it does not leave: the update has failed or was refused, and
   * the guests run again. What was stopped stays so, or is started again if that can be done. Does
   * nothing if nothing was stopped.
   *
   * @param why for people
   */
  void goesOn(String why);
}
