package io.holdfast.linux;

/**
 * A class's logger that is looked up when there is something to say. A process's first one makes
 * the JDK search the files of all modules, a fifth of what an agent takes to start, for which
 * guests wait on the other side of a kexec.
 *
 * @param of the class
 */
public record LateLogger(Class<?> of) {
  /** The logger, of the class's name. */
  public System.Logger get() {
    return System.getLogger(of.getName());
  }
}
