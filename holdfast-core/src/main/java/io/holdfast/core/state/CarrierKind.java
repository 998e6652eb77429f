package io.holdfast.core.state;

/** What takes boxes to the other side. */
public enum CarrierKind {
  /** A successor process on the same kernel. */
  EXEC,
  /** A new kernel, started by kexec. */
  KEXEC
}
