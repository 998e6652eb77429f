package io.holdfast.testbed.scenarios;

import io.holdfast.testbed.Outside;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;

/**
 * The test guest's disk and console (guest/README.md, "Disk and console"), looked at when it is
 * over. Each record has a time stamp that no other run of the same guest has, and follows from the
 * one before: so a guest that ran twice from one state, lost a write or wrote one again is found
 * out.
 */
final class Witness {
  private static final int SECTOR = 512;
  private static final int MAGIC = 5;
  private static final int FILLED_FROM = 6;
  private static final int WORDS = SECTOR / Long.BYTES;

  private Witness() {}

  /**
   * What both have.
   *
   * @param records on the disk, each following from the one before
   * @param lines on the console, each as on the disk
   * @param missing lines on the console that are not on the disk
   * @param disk what is wrong there; empty if nothing is
   * @param console what is wrong there; empty if nothing is
   */
  record Seen(int records, int lines, int missing, String disk, String console) {
    /** What is wrong with either, or that nothing is. */
    String wrong() {
      String first = disk.isEmpty() ? console : disk;
      return first.isEmpty() ? "nothing" : first;
    }
  }

  /**
   * Checks both.
   *
   * @param disk of which the guest has not written all yet
   * @param console what it said, from its boot on
   * @param atKexec how far it had counted just before
   */
  static void check(Outside out, Path disk, Path console, int atKexec) throws IOException {
    Seen seen = read(disk, console);
    out.same("what is wrong on the guest's disk and console", "nothing", seen.wrong());
    out.same("numbers on the console that are not on the disk", 0, seen.missing());
    out.check(
        "both go on over the kexec: %d records, %d lines, %d when the kernel was replaced"
            .formatted(seen.records(), seen.lines(), atKexec),
        atKexec > 0 && seen.lines() > atKexec && seen.records() >= seen.lines());
  }

  /** Reads both; see {@link #check}. */
  static Seen read(Path disk, Path console) throws IOException {
    List<String> lines =
        Files.readString(console, StandardCharsets.ISO_8859_1)
            .lines()
            .filter(line -> line.matches("seq \\d+ [0-9a-f]{16}"))
            .toList();
    try (FileChannel file = FileChannel.open(disk, StandardOpenOption.READ)) {
      long boot = sector(file, 1).getLong(Long.BYTES);
      long chain = boot;
      int records = 0;
      int said = 0;
      String onDisk = "";
      String onConsole = "";
      while (onDisk.isEmpty() && onConsole.isEmpty()) {
        int n = records + 1;
        ByteBuffer record = sector(file, n);
        if (record.getLong(0) != Guest.magic(MAGIC)) {
          break;
        }
        long next = Guest.mix(Guest.mix(chain ^ n) ^ record.getLong(24));
        if (record.getLong(8) != boot
            || record.getLong(16) != n
            || record.getLong(32) != chain
            || record.getLong(40) != next) {
          onDisk = "record " + n + " does not follow from the one before";
        }
        for (int w = FILLED_FROM; w < WORDS; w++) {
          if (record.getLong(w * Long.BYTES) != Guest.word(next, w)) {
            onDisk = "record " + n + " is torn, at word " + w;
          }
        }
        if (said < lines.size()) {
          String line = "seq %d %016x".formatted(n, next);
          if (!lines.get(said).equals(line)) {
            onConsole =
                "the console has '" + lines.get(said) + "' where the disk has '" + line + "'";
          }
          said++;
        }
        chain = next;
        records = n;
      }
      return new Seen(records, said, lines.size() - said, onDisk, onConsole);
    }
  }

  private static ByteBuffer sector(FileChannel file, long number) throws IOException {
    ByteBuffer sector = ByteBuffer.allocate(SECTOR).order(ByteOrder.LITTLE_ENDIAN);
    int _ = file.read(sector, number * SECTOR);
    return sector;
  }
}
