package io.holdfast.benchmarks;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.Protection;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;

/** Guest RAM as the test guest leaves it, written independently of the classes that check it. */
final class ForgedGuest implements AutoCloseable {
  static final long BOOT = 0xfeedface12345679L;
  static final int PAGES = 40;
  private static final int RAM_PAGES = 4096;
  private static final long GOLDEN = 0x9e3779b97f4a7c15L;

  final Fd memory = Linux.system().memfd("forged", (long) RAM_PAGES * 4096);
  final long heartbeat;

  /** A page that nothing uses. */
  final long spare;

  final long[] places = new long[PAGES];
  private final Mapping mapping =
      Linux.system().map(memory, 0, (long) RAM_PAGES * 4096, Protection.WRITE);
  final MemorySegment ram = mapping.segment();

  /** A guest that stands still after so many rewrites. */
  ForgedGuest(long rewrites) {
    List<Integer> free = new ArrayList<>();
    for (int i = 0; i < RAM_PAGES; i++) {
      free.add(i);
    }
    Collections.shuffle(free, new Random(42));
    heartbeat = free.removeLast() * 4096L;
    spare = free.removeLast() * 4096L;
    for (int i = 0; i < PAGES; i++) {
      places[i] = free.removeLast() * 4096L;
      long generation = 1;
      for (long t = 0; t < rewrites; t++) {
        if (t % PAGES == i) {
          generation++;
        }
      }
      write(i, generation);
    }
    put(heartbeat + 40, 1000);
    put(heartbeat + 48, BOOT);
    put(heartbeat + 80, rewrites);
    put(heartbeat + 88, PAGES);
    put(heartbeat + 32, heartbeat);
    for (int k = 0; k < 4; k++) {
      put(heartbeat + 8L * k, mix(0x484f4c4446415354L + k));
    }
  }

  void write(int page, long generation) {
    head(page, places[page]);
    begin(page, generation, 511);
    put(places[page] + 511 * 8, generation);
  }

  /** Writes as the guest does, up to but without this word. */
  void begin(int page, long generation, int until) {
    put(places[page] + 24, generation);
    for (int w = 4; w < until; w++) {
      put(places[page] + w * 8L, word(page, generation, w));
    }
  }

  void head(int page, long place) {
    put(place, mix(0x484f4c4446415354L + 4));
    put(place + 8, BOOT);
    put(place + 16, page);
  }

  void put(long at, long value) {
    ram.set(ValueLayout.JAVA_LONG, at, value);
  }

  long get(long at) {
    return ram.get(ValueLayout.JAVA_LONG, at);
  }

  private static long word(long page, long generation, int w) {
    return mix(mix(mix(mix(BOOT) ^ page) ^ generation) + w * GOLDEN);
  }

  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
    z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
    return z ^ (z >>> 31);
  }

  @Override
  public void close() {
    mapping.close();
    memory.close();
  }
}
