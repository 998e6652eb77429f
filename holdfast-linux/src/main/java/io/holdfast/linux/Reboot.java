package io.holdfast.linux;

/** How the machine stops (reboot(2), {@code include/uapi/linux/reboot.h}). */
public enum Reboot {
  /** It starts anew, from its firmware. */
  RESTART(0x01234567),
  /** It is switched off. */
  POWER_OFF(0x4321FEDC),
  /** The kernel that was loaded starts ({@link Kexec}). */
  KEXEC(0x45584543);

  final int command;

  Reboot(int command) {
    this.command = command;
  }
}
