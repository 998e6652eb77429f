package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Readiness;
import java.util.Map;
import java.util.Set;

/**
 * The host's end of a channel: where goes what the guest says, and whence comes what it is told.
 */
interface Sink extends AutoCloseable {
  /** Whether it takes what the guest says at once; if not, the guest has to wait. */
  boolean room();

  /** Adds what is to be waited for. */
  void want(Map<Fd, Set<Readiness>> wanted);

  /**
   * Takes what is in the line's queue {@code out}, as far as it can without waiting for somebody.
   */
  void take();

  /** Does what has become possible. */
  void serve(Map<Fd, Set<Readiness>> ready);

  /** What it needs to go on under another kernel, by labels; memfds, the caller's to close. */
  default Map<String, Fd> packed() {
    return Map.of();
  }

  /** The channel ends for good: removes its names. */
  void end();

  /** Lets go; the channel goes on with another agent. */
  @Override
  void close();
}
