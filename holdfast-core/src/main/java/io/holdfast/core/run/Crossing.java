package io.holdfast.core.run;

/** Takes the machine to the other side of a kexec: the reboot call. */
@FunctionalInterface
public interface Crossing {
  /**
   * Starts the next kernel. Called when everything is frozen and handed over; the point of no
   * return lies within it. It does not return if it starts the kernel itself, and returns if
   * somebody else is to.
   *
   * @throws Exception if this kernel goes on: the update is then cancelled
   */
  void cross() throws Exception;
}
