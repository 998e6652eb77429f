package io.holdfast.core.state;

import java.util.Locale;

/** What the state of preserved memory permits or refuses. */
public enum MemoryOperation {
  /** Add memory to what is preserved. */
  PRESERVE,
  /** Drop memory from what is preserved. */
  UNPRESERVE,
  /** Get memory that the other side preserved. */
  RETRIEVE,
  /** Change the size of the memory. */
  RESIZE,
  /** Call the kernel's live update interface at all. */
  CALL_LUO;

  /** The name in prose: {@code call luo}. */
  public String words() {
    return name().toLowerCase(Locale.ROOT).replace('_', ' ');
  }
}
