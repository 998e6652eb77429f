package io.holdfast.linux;

/** The signals that Holdfast sends or meets, by the numbers of x86-64 and AArch64. */
public enum Signal {
  /** Hangup. */
  HUP(1),
  /** Interrupt, as from Ctrl-C. */
  INT(2),
  /** Quit, leaving a core dump. */
  QUIT(3),
  /** Aborted by itself. */
  ABRT(6),
  /** Ends the process; can't be refused. */
  KILL(9),
  /** User-defined. */
  USR1(10),
  /** Invalid memory access. */
  SEGV(11),
  /** User-defined. */
  USR2(12),
  /** Asks the process to end. */
  TERM(15),
  /** Continues a stopped process. */
  CONT(18),
  /** Stops the process; can't be refused. */
  STOP(19);

  private final int number;

  Signal(int number) {
    this.number = number;
  }

  /** Its number. */
  public int number() {
    return number;
  }
}
