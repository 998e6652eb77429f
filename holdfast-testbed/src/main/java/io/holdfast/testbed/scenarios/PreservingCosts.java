package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.linux.Protection;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * What a brownout pays for each GiB of guest RAM: filling it, preserving it and undoing that, on
 * pages of 4 KiB and of 2 MiB, in turns. Nothing crosses a kexec here.
 */
@Promise("figures")
public final class PreservingCosts implements Scenario {
  private static final long BYTES = 1L << 30;
  private static final long PAGE = 4096;
  private static final int ROUNDS = 7;
  private static final Path ENABLED = Path.of("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  private static final List<String> STEPS = List.of("filling", "preserving", "undoing");

  @Override
  public String title() {
    return "what it costs to preserve a GiB, on small pages and on huge ones";
  }

  @Override
  public Setup setup() {
    return Setup.standard().withMemory(6144).withLimit(Duration.ofMinutes(10));
  }

  @Override
  public void before(Inside in) throws IOException {
    Map<String, List<Long>> micros = new TreeMap<>();
    for (int round = 0; round < ROUNDS; round++) {
      for (String pages : List.of("never", "always")) {
        Files.writeString(ENABLED, pages);
        boolean huge = pages.equals("always");
        List<Long> took = once(in, huge, round);
        for (int i = 0; i < STEPS.size(); i++) {
          micros
              .computeIfAbsent(
                  STEPS.get(i) + (huge ? ", 2 MiB pages" : ", 4 KiB pages"), _ -> new ArrayList<>())
              .add(took.get(i));
        }
      }
    }
    micros.forEach(
        (what, all) -> {
          Collections.sort(all);
          in.note(
              "%s: median %.1f ms a GiB (%.1f to %.1f, of %d)"
                  .formatted(
                      what,
                      all.get(all.size() / 2) / 1e3,
                      all.getFirst() / 1e3,
                      all.getLast() / 1e3,
                      all.size()));
        });
  }

  /** How long each of {@link #STEPS} took, in microseconds. */
  private static List<Long> once(Inside in, boolean huge, int round) throws IOException {
    List<Long> took = new ArrayList<>();
    try (Fd memfd = in.linux().memfd("ram", BYTES)) {
      long start = System.nanoTime();
      try (Mapping mapping = in.linux().map(memfd, 0, BYTES, Protection.READ, Protection.WRITE)) {
        for (long at = 0; at < BYTES; at += PAGE) {
          mapping.segment().set(ValueLayout.JAVA_LONG, at, at);
        }
      }
      took.add(micros(start));
      long large = hugePages();
      in.check(
          String.format(Locale.ROOT, "round %d: huge pages are %d MiB of it", round, large >> 10),
          huge ? large << 10 > BYTES * 3 / 4 : large == 0);
      OutgoingSession session = in.linux().liveUpdate().create("costs");
      start = System.nanoTime();
      session.preserve(memfd, 1);
      took.add(micros(start));
      start = System.nanoTime();
      session.close();
      took.add(micros(start));
    }
    return took;
  }

  private static long micros(long start) {
    return (System.nanoTime() - start) / 1000;
  }

  /** In KiB. */
  private static long hugePages() throws IOException {
    return Files.readAllLines(Path.of("/proc/meminfo")).stream()
        .filter(line -> line.startsWith("ShmemHugePages:"))
        .mapToLong(line -> Long.parseLong(line.split("[:\\s]+", -1)[1]))
        .findFirst()
        .orElse(0);
  }
}
