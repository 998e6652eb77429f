package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Optional;

/** A terminal (termios(3)). */
public final class Terminal {
  private static final int TCSADRAIN = 1;

  // struct termios of x86-64 and AArch64: four ints of flags, then c_line and the array c_cc.
  private static final int TERMIOS_BYTES = 64;
  private static final int IFLAG = 0;
  private static final int OFLAG = 4;
  private static final int CFLAG = 8;
  private static final int LFLAG = 12;
  private static final int CC = 17;
  private static final int VTIME = 5;
  private static final int VMIN = 6;

  /** IGNBRK, BRKINT, PARMRK, ISTRIP, INLCR, IGNCR, ICRNL, IXON. */
  private static final int INPUT_CHANGES = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 | 0x400;

  private static final int OPOST = 0x1;

  /** ISIG, ICANON, ECHO, ECHONL, IEXTEN. */
  private static final int LINES = 0x1 | 0x2 | 0x8 | 0x40 | 0x8000;

  private static final int CSIZE_AND_PARENB = 0x30 | 0x100;
  private static final int CS8 = 0x30;

  private final Calls calls;
  private final Fd fd;
  private final byte[] found;

  private Terminal(Calls calls, Fd fd, byte[] found) {
    this.calls = calls;
    this.fd = fd;
    this.found = found;
  }

  static Optional<Terminal> of(Calls calls, Fd fd) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment termios = arena.allocate(TERMIOS_BYTES, Integer.BYTES);
      long result = calls.attemptOn(Call.TCGETATTR, fd, termios.address());
      if (result == -Errno.ENOTTY.number() || result == -Errno.EINVAL.number()) {
        return Optional.empty();
      }
      SystemCallException.check(result, Call.TCGETATTR, fd.what());
      return Optional.of(new Terminal(calls, fd, termios.toArray(ValueLayout.JAVA_BYTE)));
    }
  }

  /**
   * From now on every byte passes as it is, at once: keys are not echoed, edited or made signals.
   *
   * @throws SystemCallException EIO if the terminal is gone
   */
  public void raw() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment termios = saved(arena);
      clear(termios, IFLAG, INPUT_CHANGES);
      clear(termios, OFLAG, OPOST);
      clear(termios, LFLAG, LINES);
      clear(termios, CFLAG, CSIZE_AND_PARENB);
      Field.setInt(termios, CFLAG, Field.getInt(termios, CFLAG) | CS8);
      Field.setByte(termios, CC + VMIN, 1);
      Field.setByte(termios, CC + VTIME, 0);
      calls.on(Call.TCSETATTR, fd, TCSADRAIN, termios.address());
    }
  }

  /** Makes it what it was when it was found; may come more than once, from any thread. */
  public void restore() {
    try (Arena arena = Arena.ofConfined()) {
      calls.on(Call.TCSETATTR, fd, TCSADRAIN, saved(arena).address());
    }
  }

  private MemorySegment saved(Arena arena) {
    MemorySegment termios = arena.allocate(TERMIOS_BYTES, Integer.BYTES);
    MemorySegment.copy(found, 0, termios, ValueLayout.JAVA_BYTE, 0, found.length);
    return termios;
  }

  private static void clear(MemorySegment termios, int flags, int bits) {
    Field.setInt(termios, flags, Field.getInt(termios, flags) & ~bits);
  }
}
