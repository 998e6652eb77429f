package io.holdfast.benchmarks;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.Protection;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.VarHandle;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.locks.LockSupport;

/**
 * A test guest's RAM, mapped for reading: finds the heartbeat page and the pattern pages and checks
 * the pattern, as {@code guest/README.md} describes them. The guest doesn't notice.
 *
 * <p>One thread at a time may use it; {@link #close} unmaps.
 */
public final class GuestMemory implements AutoCloseable {
  private static final ValueLayout.OfLong WORD = ValueLayout.JAVA_LONG;

  /** How often a page is looked at again because the guest rewrote a page meanwhile. */
  private static final int LOOKS = 200;

  private static final long BETWEEN_LOOKS_NANOS = 1_000_000;
  private static final long MISSING = -1;

  private final Fd own;
  private final Linux linux;
  private final Mapping mapping;
  private final MemorySegment ram;

  private GuestMemory(Linux linux, Fd own, Mapping mapping) {
    this.linux = linux;
    this.own = own;
    this.mapping = mapping;
    this.ram = mapping.segment();
  }

  /**
   * Maps guest RAM.
   *
   * @param memory its descriptor (as {@code io.holdfast.Vm.Memory} gives it), borrowed for this
   *     call: it is opened anew, so its position stays as it is
   * @throws io.holdfast.linux.SystemCallException if it can't be opened or mapped
   */
  public static GuestMemory map(Linux linux, Fd memory) {
    return open(linux, Path.of("/proc/self/fd/" + memory.number()));
  }

  /**
   * Maps guest RAM that another process has open.
   *
   * @param pid that process
   * @param descriptor its number there
   * @throws io.holdfast.linux.SystemCallException if there is none, or it is somebody else's
   */
  public static GuestMemory ofProcess(Linux linux, int pid, int descriptor) {
    return open(linux, Path.of("/proc/" + pid + "/fd/" + descriptor));
  }

  private static GuestMemory open(Linux linux, Path path) {
    Fd own = linux.open(path, OpenFlag.READ);
    try {
      return new GuestMemory(linux, own, linux.map(own, 0, linux.size(own), Protection.READ));
    } catch (Throwable t) {
      own.close();
      throw t;
    }
  }

  /** The RAM, for whoever reads it many times a second. */
  MemorySegment ram() {
    return ram;
  }

  /** Its size in bytes. */
  public long bytes() {
    return ram.byteSize();
  }

  /**
   * All heartbeat pages in RAM, in their order: none before the guest is ready, usually one, and
   * more when the guest rebooted and left an older one.
   */
  public List<Heartbeat> heartbeats() {
    List<Heartbeat> found = new ArrayList<>();
    long first = GuestFormat.magic(GuestFormat.HEARTBEAT);
    eachPage(
        offset -> {
          if (ram.get(WORD, offset) == first && isHeartbeat(offset)) {
            found.add(Heartbeat.read(ram, offset));
          }
        });
    return found;
  }

  /**
   * The heartbeat page of one boot.
   *
   * @param boot the boot id, as the console's {@code boot} line says it
   * @throws IllegalStateException if there is none
   */
  public Heartbeat heartbeat(long boot) {
    return heartbeats().stream()
        .filter(h -> h.boot() == boot)
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalStateException(
                    "no heartbeat page of boot %016x in %d MiB of guest RAM; is the guest ready?"
                        .formatted(boot, bytes() >> 20)));
  }

  /** Reads a heartbeat page again. */
  public Heartbeat again(Heartbeat page) {
    return Heartbeat.read(ram, page.offset());
  }

  private boolean isHeartbeat(long offset) {
    for (int k = 0; k < 4; k++) {
      if (ram.get(WORD, offset + (long) k * Long.BYTES)
          != GuestFormat.magic(GuestFormat.HEARTBEAT + k)) {
        return false;
      }
    }
    return true;
  }

  /**
   * Checks every page of the pattern, whether the guest runs or stands still. Takes some
   * milliseconds per 1,000 pages, more while it runs.
   *
   * @param heartbeat its heartbeat page, read at any time
   */
  public PatternCheck verifyPattern(Heartbeat heartbeat) {
    Pattern pattern = new Pattern(heartbeat.boot(), heartbeat.patternPages());
    if (pattern.pages() <= 0 || pattern.pages() > bytes() / GuestFormat.PAGE) {
      return new PatternCheck.Wrong(
          List.of(
              new PatternCheck.Fault(
                  0, "the heartbeat page speaks of " + pattern.pages() + " pattern pages")),
          1);
    }
    Faults faults = new Faults();
    long[] places = patternPages(pattern, faults);
    long[] page = new long[GuestFormat.PAGE_WORDS];
    PatternCheck good = new PatternCheck.Right(pattern.pages(), rewrites(heartbeat));
    for (int i = 0; i < places.length; i++) {
      if (places[i] == MISSING) {
        continue;
      }
      switch (look(pattern, heartbeat, i, places[i], page)) {
        case Pattern.Look.Whole whole -> {}
        case Pattern.Look.Half half ->
            good = new PatternCheck.Torn(pattern.pages(), rewrites(heartbeat), i, half.word());
        case Pattern.Look.Bad bad -> faults.add(i, bad.what());
      }
    }
    if (faults.count > 0) {
      return new PatternCheck.Wrong(faults.first, faults.count);
    }
    return good instanceof PatternCheck.Torn
        ? good
        : new PatternCheck.Right(pattern.pages(), rewrites(heartbeat));
  }

  /** Where each pattern page lies, or {@link #MISSING} with a fault. */
  private long[] patternPages(Pattern pattern, Faults faults) {
    long[] places = new long[Math.toIntExact(pattern.pages())];
    Arrays.fill(places, MISSING);
    long magic = GuestFormat.magic(GuestFormat.PATTERN);
    eachPage(
        offset -> {
          if (ram.get(WORD, offset) != magic || ram.get(WORD, offset + 8) != pattern.boot()) {
            return;
          }
          long index = ram.get(WORD, offset + 16);
          if (index < 0 || index >= places.length) {
            faults.add(index, "there is no page of this number");
          } else if (places[(int) index] != MISSING) {
            faults.add(index, "there twice");
          } else {
            places[(int) index] = offset;
          }
        });
    for (int i = 0; i < places.length; i++) {
      if (places[i] == MISSING) {
        faults.add(i, "missing");
      }
    }
    return places;
  }

  /** All are counted, the first are kept. */
  private static final class Faults {
    private final List<PatternCheck.Fault> first = new ArrayList<>();
    private long count;

    void add(long page, String what) {
      if (count++ < PatternCheck.Wrong.MOST) {
        first.add(new PatternCheck.Fault(page, what));
      }
    }
  }

  /**
   * Looks at a page until nothing was rewritten meanwhile. The page in flight is read while the
   * guest may be writing it, so what looks bad there is believed only when the guest stands still.
   */
  private Pattern.Look look(
      Pattern pattern, Heartbeat heartbeat, long index, long place, long[] page) {
    Pattern.Look last = new Pattern.Look.Bad("rewritten whenever it was looked at");
    for (int attempt = 0; attempt < LOOKS; attempt++) {
      long before = rewrites(heartbeat);
      MemorySegment.copy(ram, WORD, place, page, 0, page.length);
      VarHandle.loadLoadFence();
      if (rewrites(heartbeat) != before) {
        continue;
      }
      boolean inFlight = index == pattern.inFlight(before);
      last = inFlight ? pattern.inFlight(before, page) : pattern.atRest(index, before, page);
      if (!(inFlight && !(last instanceof Pattern.Look.Whole))) {
        return last;
      }
      LockSupport.parkNanos(BETWEEN_LOOKS_NANOS);
    }
    return last;
  }

  private long rewrites(Heartbeat heartbeat) {
    long value = ram.get(WORD, heartbeat.offset() + Heartbeat.REWRITES);
    VarHandle.loadLoadFence();
    return value;
  }

  /** Where there is data; reading a hole would allocate it. */
  private void eachPage(PageVisitor visitor) {
    long end = bytes() / GuestFormat.PAGE * GuestFormat.PAGE;
    for (OptionalLong data = linux.nextData(own, 0); data.isPresent() && data.getAsLong() < end; ) {
      long hole = Math.min(end, linux.nextHole(own, data.getAsLong()));
      for (long offset = data.getAsLong() / GuestFormat.PAGE * GuestFormat.PAGE;
          offset < hole;
          offset += GuestFormat.PAGE) {
        visitor.visit(offset);
      }
      data = linux.nextData(own, hole);
    }
  }

  @FunctionalInterface
  private interface PageVisitor {
    void visit(long offset);
  }

  /** Unmaps the RAM and closes what was opened here. */
  @Override
  public void close() {
    mapping.close();
    own.close();
  }
}
