package io.holdfast.benchmarks;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Checks from outside that what a test guest wrote to its console and its disk is the work of one
 * guest that ran once: its numbered records form a chain that neither forks, repeats nor skips
 * ({@code guest/README.md}, "Disk and console").
 *
 * <p>A link holds the time stamp counter as the guest read it, which can be computed back from two
 * links. It must rise by a plausible amount; so even a guest that ran twice for one record only,
 * and each of whose halves wrote every number once, shows: the halves' links don't follow from each
 * other.
 *
 * <p>The console is fed while the guest runs ({@link #console}, {@link #follow}); the disk is
 * compared after it has stopped ({@link #disk}). Not thread-safe.
 */
public final class Witness {
  /** The most the time stamp counter may rise in one record: more than an hour at 4 GHz. */
  private static final long MOST_TICKS = 1L << 44;

  private static final Pattern BOOT = Pattern.compile("boot ([0-9a-f]{16})");
  private static final Pattern READY =
      Pattern.compile(
          "ready heartbeat=([0-9a-f]+) bootid=([0-9a-f]{16}) cpus=\\d+ pattern=\\d+ disk=\\d+");
  private static final Pattern SEQ = Pattern.compile("seq ([1-9]\\d{0,17}) ([0-9a-f]{16})");
  private static final Pattern KERNEL = Pattern.compile("\\[ *\\d+\\.\\d+\\] ");
  private static final int LONGEST_LINE = 4096;

  private final List<String> faults = new ArrayList<>();
  private long faultCount;

  private final List<String> complaints = new ArrayList<>();
  private final StringBuilder line = new StringBuilder();
  private long lineNumber = 1;
  private long offset;
  private boolean booted;
  private boolean ready;
  private long boot;

  /** By number; 0 is the boot id. */
  private long[] chains = new long[1024];

  private long last;
  private long lastTsc;

  /** Parts of the console may be missing. */
  private boolean gaps;

  /** A link that may be cut: it counts if the next one follows from it. 0 if there is none. */
  private long candidate;

  private long candidateChain;

  /** A witness of a console that is still empty. */
  public Witness() {}

  // ---- console ----

  /** Takes the console's next bytes, cut anywhere. */
  public void console(byte[] bytes, int start, int length) {
    for (int i = start; i < start + length; i++) {
      char c = (char) (bytes[i] & 0xff);
      if (c == '\n') {
        take(line.toString());
        line.setLength(0);
        lineNumber++;
      } else if (line.length() < LONGEST_LINE) {
        line.append(c);
      }
    }
    offset += length;
  }

  /**
   * Reads what was added to a console's log since the last time.
   *
   * @throws UncheckedIOException if it can't be read
   */
  public void follow(Path log) {
    try (FileChannel channel = FileChannel.open(log, StandardOpenOption.READ)) {
      if (channel.size() < offset) {
        fault(
            "the console's log became shorter: %d bytes after %d"
                .formatted(channel.size(), offset));
        return;
      }
      channel.position(offset);
      ByteBuffer piece = ByteBuffer.allocate(1 << 16);
      while (channel.read(piece) > 0) {
        console(piece.array(), 0, piece.position());
        piece.clear();
      }
    } catch (IOException e) {
      throw new UncheckedIOException("reading the console's log " + log, e);
    }
  }

  /**
   * Tells whether parts of the console may be missing from here on, as in a log whose file system
   * is full. If so, cut lines and skipped numbers are no faults; forks, repeats and reboots are.
   */
  public void mayHaveGaps(boolean may) {
    gaps = may;
    candidate = 0;
  }

  private void take(String text) {
    String said = text.endsWith("\r") ? text.substring(0, text.length() - 1) : text;
    Matcher seq = SEQ.matcher(said);
    Matcher boots = BOOT.matcher(said);
    Matcher readies = READY.matcher(said);
    if (seq.matches()) {
      link(Long.parseLong(seq.group(1)), Long.parseUnsignedLong(seq.group(2), 16));
    } else if (boots.matches()) {
      boot(Long.parseUnsignedLong(boots.group(1), 16));
    } else if (readies.matches()) {
      if (ready) {
        fault("console line %d: ready a second time".formatted(lineNumber));
      } else if (Long.parseUnsignedLong(readies.group(2), 16) != boot) {
        fault(
            "console line %d: ready in another boot than %016x: %s"
                .formatted(lineNumber, boot, said));
      }
      ready = true;
    } else if (said.contains("hrtimer: interrupt took ")) {
      // The kernel's remark that its host kept the vCPU from running for long: on a busy machine it
      // comes without an update, too, and the heartbeat's gap says it better.
      return;
    } else if (said.startsWith("problem ")) {
      complaints.add(printable(said));
    } else if (!ready && KERNEL.matcher(said).lookingAt()) {
      // What booting has to say is no update's doing: ten guests that boot on two slow processors
      // have soft lockups. A guest whose kernel panics there never gets ready.
      return;
    } else if (!gaps && !said.startsWith("note: ")) {
      // A pattern page found wrong, the kernel's panic, and lines of which a part is missing.
      fault(
          "console line %d: %s".formatted(lineNumber, said.isEmpty() ? "empty" : printable(said)));
    }
  }

  private void boot(long id) {
    if (booted) {
      fault(
          "console line %d: the guest rebooted: %016x after %016x".formatted(lineNumber, id, boot));
      return;
    }
    booted = true;
    boot = id;
    chains[0] = id;
  }

  private void link(long n, long chain) {
    if (!booted) {
      fault("console line %d: seq %d before a boot line".formatted(lineNumber, n));
      return;
    }
    if (gaps && !whole(n, chain)) {
      return;
    }
    if (n <= last) {
      fault(
          "console line %d: seq %d again%s"
              .formatted(
                  lineNumber,
                  n,
                  chains[(int) n] == chain ? "" : ", with another chain: the guest forked"));
      return;
    }
    if (n > last + 1) {
      fault("console line %d: seq %d after %d".formatted(lineNumber, n, last));
      // It goes on from here; one skip is one fault.
      grow(n);
      Arrays.fill(chains, (int) last + 1, (int) n, 0);
      lastTsc = 0;
    } else {
      long tsc = GuestFormat.tsc(chains[(int) last], n, chain);
      if (last > 0 && lastTsc != 0 && !rises(lastTsc, tsc)) {
        fault(
            "console line %d: chain %016x of seq %d does not follow from %016x: the guest forked"
                .formatted(lineNumber, chain, n, chains[(int) last]));
        tsc = 0;
      }
      lastTsc = tsc;
    }
    grow(n);
    chains[(int) n] = chain;
    last = n;
  }

  /**
   * Returns whether a line of a console with gaps is the guest's own, and not the beginning of one
   * and the end of another: it was there before, or follows from the last one, or from the line
   * before it, which is taken then.
   */
  private boolean whole(long n, long chain) {
    if (n <= last && chains[(int) n] == chain) {
      return true;
    }
    if (n == last + 1 && near(GuestFormat.tsc(chains[(int) last], n, chain))) {
      return true;
    }
    boolean follows =
        candidate > 0 && n == candidate + 1 && near(GuestFormat.tsc(candidateChain, n, chain));
    if (follows && candidate > last) {
      grow(candidate);
      Arrays.fill(chains, (int) last + 1, (int) candidate, 0);
      chains[(int) candidate] = candidateChain;
      last = candidate;
    }
    candidate = n;
    candidateChain = chain;
    return follows;
  }

  /** Of numbers that mean nothing one in half a million is that near. */
  private boolean near(long tsc) {
    return Math.abs(tsc - lastTsc) < MOST_TICKS;
  }

  private void grow(long n) {
    if (n >= chains.length) {
      chains = Arrays.copyOf(chains, Math.toIntExact(Math.max(n + 1, chains.length * 2L)));
    }
  }

  private static boolean rises(long before, long after) {
    long ticks = after - before;
    return ticks > 0 && ticks < MOST_TICKS;
  }

  /** Whether the guest has said that all of it works. */
  public boolean ready() {
    return ready;
  }

  /** The boot id; 0 before the boot line. */
  public long boot() {
    return boot;
  }

  /** The number of the last record that the console told; 0 before the first. */
  public long last() {
    return last;
  }

  /**
   * What the guest itself called a problem: its clock went back, a write failed, its kernel warned.
   * That need not break the chain, and isn't a part of {@link #consoleCheck}.
   */
  public List<String> complaints() {
    return List.copyOf(complaints);
  }

  /** What the console has shown so far; a line that has no end yet doesn't count. */
  public ChainCheck consoleCheck() {
    return faultCount > 0
        ? new ChainCheck.Broken(faults, faultCount)
        : new ChainCheck.Unbroken(boot, Math.min(1, last), last);
  }

  private void fault(String what) {
    if (faultCount++ < ChainCheck.Broken.MOST) {
      faults.add(what);
    }
  }

  private static String printable(String said) {
    return said.replaceAll("[^\\x20-\\x7e]", "?");
  }

  // ---- disk ----

  /**
   * Compares the disk of the stopped guest with what its console told.
   *
   * @param raw the disk's content, as {@link #rawCopy} makes it
   * @param safe the number of the last record that the guest knew to be safe ({@link
   *     Heartbeat#diskSequence}), 0 if that isn't known
   * @throws UncheckedIOException if it can't be read
   */
  public ChainCheck disk(Path raw, long safe) {
    try (FileChannel channel = FileChannel.open(raw, StandardOpenOption.READ)) {
      return new Disk(channel, safe).check();
    } catch (IOException e) {
      throw new UncheckedIOException("reading the disk " + raw, e);
    }
  }

  /**
   * Makes a raw copy of a disk image that nobody has open, with qemu-img.
   *
   * @param image of any format that it knows
   * @param raw where the copy goes
   * @throws UncheckedIOException if qemu-img is missing or fails; the message has what it said
   */
  public static void rawCopy(Path image, Path raw) {
    List<String> command =
        List.of("qemu-img", "convert", "-O", "raw", image.toString(), raw.toString());
    try {
      Process convert = new ProcessBuilder(command).redirectErrorStream(true).start();
      String said = new String(convert.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      if (convert.waitFor() != 0 || !Files.exists(raw)) {
        throw new IOException(String.join(" ", command) + ": " + said.strip());
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while qemu-img converted " + image, e);
    }
  }

  /** The records of one disk. */
  private final class Disk {
    private final FileChannel channel;
    private final long slots;
    private final long safe;
    private final List<String> faults = new ArrayList<>();
    private long count;

    Disk(FileChannel channel, long safe) throws IOException {
      this.channel = channel;
      this.slots = channel.size() / GuestFormat.SECTOR;
      this.safe = safe;
    }

    ChainCheck check() throws IOException {
      // By slot, as the records lie; n of 0 is no record of this boot.
      long[] numbers = new long[Math.toIntExact(slots)];
      long[][] records = new long[numbers.length][];
      long newest = 0;
      ByteBuffer piece = ByteBuffer.allocate(1 << 20).order(ByteOrder.LITTLE_ENDIAN);
      int slot = 0;
      while (channel.read(piece) > 0) {
        piece.flip();
        while (piece.remaining() >= GuestFormat.SECTOR) {
          long[] record = new long[GuestFormat.SECTOR_WORDS];
          piece.asLongBuffer().get(record);
          piece.position(piece.position() + GuestFormat.SECTOR);
          if (record[0] == GuestFormat.magic(GuestFormat.DISK) && record[1] == boot) {
            wellFormed(slot, record);
            numbers[slot] = record[2];
            records[slot] = Arrays.copyOf(record, 6);
            newest = Math.max(newest, record[2]);
          }
          slot++;
        }
        piece.compact();
      }
      long oldest = Math.max(1, newest - slots + 1);
      for (long n = oldest; n <= newest; n++) {
        int at = (int) (n % slots);
        if (numbers[at] != n) {
          fault(
              "record %d is missing; its place holds %s"
                  .formatted(n, numbers[at] == 0 ? "none" : numbers[at]));
          continue;
        }
        long[] record = records[at];
        long[] before = records[(int) ((n - 1) % slots)];
        if (n == 1 && record[4] != boot) {
          fault("record 1 doesn't begin the chain");
        } else if (n > oldest && before != null && before[2] == n - 1) {
          if (before[5] != record[4]) {
            fault("record %d does not follow from %d: the guest forked".formatted(n, n - 1));
          } else if (!rises(before[3], record[3])) {
            fault("the time stamp counter of record %d went back or far ahead".formatted(n));
          }
        }
        if (n <= last && chains[(int) n] != 0 && chains[(int) n] != record[5]) {
          fault("record %d is not the one that the console told: the guest forked".formatted(n));
        }
      }
      for (int s = 0; s < numbers.length; s++) {
        if (numbers[s] != 0 && numbers[s] < oldest) {
          fault("record %d should have been overwritten".formatted(numbers[s]));
        }
      }
      if (newest < safe) {
        fault("the last record is %d, but %d was safe: lost".formatted(newest, safe));
      }
      // A record is told after it is safe, and before the next is written.
      if (newest < last || newest > last + 1) {
        fault("the last record is %d, the console's %d".formatted(newest, last));
      }
      return count > 0
          ? new ChainCheck.Broken(faults, count)
          : new ChainCheck.Unbroken(boot, newest == 0 ? 0 : oldest, newest);
    }

    private void wellFormed(int slot, long[] record) {
      long n = record[2];
      boolean right = n > 0 && n % slots == slot;
      right &= record[5] == GuestFormat.chain(record[4], n, record[3]);
      for (int w = 6; w < record.length; w++) {
        right &= record[w] == GuestFormat.word(record[5], w);
      }
      if (!right) {
        fault("sector %d holds a record that is not whole, number %d".formatted(slot, n));
      }
    }

    private void fault(String what) {
      if (count++ < ChainCheck.Broken.MOST) {
        faults.add(what);
      }
    }
  }
}
