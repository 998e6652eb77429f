package io.holdfast.host.carrier;

import io.holdfast.core.Step;
import io.holdfast.linux.Linux;
import java.io.IOException;

/**
 * How the rest of the host stops before its kernel is replaced, and how the next one is started.
 */
public interface HostShutdown {
  /** For a plan, in a few words. */
  String describe();

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
   */
  void leave(Linux linux);
}
