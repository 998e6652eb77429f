package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.Protection;
import io.holdfast.testbed.Inside;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;

/**
 * A guest that is up as soon as its firmware is: a boot sector that counts in its memory, and after
 * each {@link #STEP} writes the count to its disk's second sector and then, as a line of eight
 * hexadecimal digits, to the serial console. So what goes on from an earlier state repeats a line,
 * and what lost anything leaves one out. A Linux guest, emulated on an emulated host, takes minutes
 * to boot.
 */
final class CountingGuest {
  /** From one line to the next. */
  private static final long STEP = 0x40000;

  private static final int AT = 0x8000;
  private static final int SECTOR = 512;
  private static final Duration PATIENCE = Duration.ofMinutes(4);

  /** GNU assembler, .code16 at 0x7c00. */
  private static final String CODE =
      """
      31c0              xorw %ax, %ax
      8ed8              movw %ax, %ds
      8ed0              movw %ax, %ss
      bc007c            movw $0x7c00, %sp
      8816707c          movb %dl, drive
      66ff060080        count: incl 0x8000
      66f7060080ffff0300 testl $0x3ffff, 0x8000
      75f0              jnz count
      be607c            movw $packet, %si
      8a16707c          movb drive, %dl
      b80043            movw $0x4300, %ax
      cd13              int $0x13
      72e2              jc count
      668b1e0080        movl 0x8000, %ebx
      b90800            movw $8, %cx
      66c1c304          digit: roll $4, %ebx
      88d8              movb %bl, %al
      240f              andb $0xf, %al
      0430              addb $'0', %al
      3c39              cmpb $'9', %al
      7602              jbe put
      0427              addb $('a' - '9' - 1), %al
      e80900            put: call send
      e2eb              loop digit
      b00a              movb $10, %al
      e80200            call send
      ebbe              jmp count
      88c4              send: movb %al, %ah
      bafd03            movw $0x3fd, %dx
      ec                wait: inb %dx, %al
      a820              testb $0x20, %al
      74fb              jz wait
      88e0              movb %ah, %al
      baf803            movw $0x3f8, %dx
      ee                outb %al, %dx
      c3                ret
      10000100          packet: .byte 16, 0; .word 1
      00800000          .word 0x8000, 0
      0100000000000000  .quad 1
      00                drive: .byte 0
      """;

  private final Inside in;
  private final InstalledHoldfast holdfast;
  private final String name;

  CountingGuest(Inside in, InstalledHoldfast holdfast, String name) {
    this.in = in;
    this.holdfast = holdfast;
    this.name = name;
  }

  /**
   * Writes it to the disk from which it is to boot.
   *
   * @param disk an image in the raw format, or a block device
   */
  static void install(Path disk) throws IOException {
    StringBuilder digits = new StringBuilder();
    CODE.lines().forEach(line -> digits.append(line, 0, line.indexOf(' ')));
    byte[] sector = new byte[SECTOR];
    byte[] code = HexFormat.of().parseHex(digits);
    System.arraycopy(code, 0, sector, 0, code.length);
    sector[SECTOR - 2] = 0x55;
    sector[SECTOR - 1] = (byte) 0xaa;
    try (var file = new RandomAccessFile(disk.toFile(), "rw")) {
      file.write(sector);
    }
  }

  /** How far it has counted by its memory; 0 before it is up. */
  long count() {
    try (VarlinkClient agent = holdfast.agent();
        Reply reply = agent.call("io.holdfast.Vm.Memory", JsonObject.of("name", name), List.of());
        Fd ram = reply.descriptors().take(0);
        Mapping mapping = in.linux().map(ram, 0, 1 << 20, Protection.READ)) {
      return Integer.toUnsignedLong(mapping.segment().get(ValueLayout.JAVA_INT, AT));
    }
  }

  /** Waits for this many lines more than {@code before}; returns how many it has written. */
  int await(int before, int more) throws IOException {
    long start = System.nanoTime();
    int lines = lines();
    while (lines < before + more && System.nanoTime() - start < PATIENCE.toNanos()) {
      InstalledHoldfast.pause(200);
      lines = lines();
    }
    return lines;
  }

  /** How many lines it has written, none of them left out or repeated. */
  int lines() throws IOException {
    return lines(InstalledHoldfast.console(name));
  }

  /**
   * How many lines there are in a console's log.
   *
   * @throws IOException if one is left out, repeated or no count
   */
  static int lines(Path console) throws IOException {
    String said = new String(Files.readAllBytes(console), StandardCharsets.US_ASCII);
    // The last one may be under way.
    List<String> lines = said.substring(0, said.lastIndexOf('\n') + 1).lines().toList();
    for (int i = 0; i < lines.size(); i++) {
      String due = "%08x".formatted((i + 1) * STEP);
      if (!lines.get(i).equals(due)) {
        throw new IOException(
            "line %d of the guest's console is %s, not %s".formatted(i + 1, lines.get(i), due));
      }
    }
    return lines.size();
  }

  /** How far it had counted when it wrote its disk last. */
  static long onDisk(Path disk) throws IOException {
    byte[] word = new byte[Integer.BYTES];
    try (var file = new RandomAccessFile(disk.toFile(), "r")) {
      file.seek(SECTOR);
      file.readFully(word);
    }
    return Integer.toUnsignedLong(ByteBuffer.wrap(word).order(ByteOrder.LITTLE_ENDIAN).getInt());
  }

  /** The count that a number of lines ends with. */
  static long after(int lines) {
    return lines * STEP;
  }
}
