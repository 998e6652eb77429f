package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.Protection;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.VarHandle;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The test guest's changing pattern (guest/README.md, "Pattern"), every page of it compared with
 * what the guest has written there last, while the guest runs.
 *
 * @param right pages that are as they must be
 * @param rewrites pages that the guest had rewritten since its boot
 * @param faults what is wrong, empty if nothing is
 */
record PatternPages(int right, long rewrites, List<String> faults) {
  private static final ValueLayout.OfLong WORD = ValueLayout.JAVA_LONG;
  private static final int PAGE = 4096;
  private static final int WORDS = PAGE / Long.BYTES;
  private static final int MAGIC = 4;
  private static final int BEGIN = 3;
  private static final int FIRST = 4;

  /** The guest rewrites a page every 4 ms or so; the one that is being rewritten rests soon. */
  private static final int LOOKS = 400;

  private static final long BETWEEN_LOOKS_MILLIS = 5;

  /**
   * Reads it.
   *
   * @param heart the guest's heartbeat, read at any time of this boot of the guest
   */
  static PatternPages of(Linux linux, VarlinkClient agent, String vm, Heartbeat heart) {
    try (Reply reply = agent.call("io.holdfast.Vm.Memory", JsonObject.of("name", vm), List.of());
        Fd ram = reply.descriptors().take(0);
        Mapping mapping = linux.map(ram, 0, linux.size(ram), Protection.READ)) {
      return of(mapping.segment(), heart);
    }
  }

  /** The same in this memory. */
  static PatternPages of(MemorySegment memory, Heartbeat heart) {
    List<String> faults = new ArrayList<>();
    Map<Long, Long> places = new HashMap<>();
    for (long at = 0; at < memory.byteSize(); at += PAGE) {
      if (memory.get(WORD, at) == Guest.magic(MAGIC)
          && memory.get(WORD, at + Long.BYTES) == heart.boot()) {
        long index = memory.get(WORD, at + 2L * Long.BYTES);
        if (places.put(index, at) != null) {
          faults.add("page " + index + " is there twice");
        }
      }
    }
    int right = 0;
    for (long index = 0; index < heart.pages(); index++) {
      Long at = places.get(index);
      String wrong = at == null ? "is missing" : look(memory, heart, index, at);
      if (wrong.isEmpty()) {
        right++;
      } else {
        faults.add("page " + index + " " + wrong);
      }
    }
    return new PatternPages(right, rewrites(memory, heart), List.copyOf(faults));
  }

  /** What is wrong with a page; empty if nothing is. */
  private static String look(MemorySegment memory, Heartbeat heart, long index, long at) {
    long[] page = new long[WORDS];
    for (int i = 0; i < LOOKS; i++) {
      long before = rewrites(memory, heart);
      MemorySegment.copy(memory, WORD, at, page, 0, WORDS);
      VarHandle.loadLoadFence();
      if (rewrites(memory, heart) == before) {
        String wrong = compare(page, heart, index, before);
        if (wrong.isEmpty() || index != before % heart.pages()) {
          return wrong;
        }
        InstalledHoldfast.pause(BETWEEN_LOOKS_MILLIS); // It may be half written.
      }
    }
    return "was rewritten whenever it was read";
  }

  private static String compare(long[] page, Heartbeat heart, long index, long rewrites) {
    long generation = 1 + rewrites / heart.pages() + (index < rewrites % heart.pages() ? 1 : 0);
    if (page[BEGIN] != generation || page[WORDS - 1] != generation) {
      return "is of generation %d to %d where it should be %d"
          .formatted(page[BEGIN], page[WORDS - 1], generation);
    }
    long seed = Guest.mix(Guest.mix(Guest.mix(heart.boot()) ^ index) ^ generation);
    for (int word = FIRST; word < WORDS - 1; word++) {
      if (page[word] != Guest.word(seed, word)) {
        return "has a wrong word " + word;
      }
    }
    return "";
  }

  private static long rewrites(MemorySegment memory, Heartbeat heart) {
    long value = memory.get(WORD, heart.at() + Heartbeat.REWRITES);
    VarHandle.loadLoadFence();
    return value;
  }
}
