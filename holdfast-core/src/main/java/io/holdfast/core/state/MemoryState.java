package io.holdfast.core.state;

/**
 * The states of preserved memory (KHO): the first four on the kernel that hands it over, the others
 * on the kernel that receives it.
 */
public enum MemoryState {
  /** Nothing can be preserved yet. */
  INACTIVE,
  /** Memory may be preserved and dropped again; no kexec image need be loaded. */
  ACTIVE,
  /** Immutable, as a consequence of freezing. */
  FINALIZED,
  /** The reboot call was made; this side never sees it again. */
  HANDED_OVER,
  /** The other side has booted, and has not retrieved it yet. */
  RECEIVED,
  /** Retrieved, and in use by its owner. */
  RESTORED,
  /** Ordinary memory again. */
  RELEASED
}
