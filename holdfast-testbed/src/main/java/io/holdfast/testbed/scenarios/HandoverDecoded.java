package io.holdfast.testbed.scenarios;

import io.holdfast.kho.Defect;
import io.holdfast.kho.Handover;
import io.holdfast.kho.LuoState.PreservedFile;
import io.holdfast.kho.LuoState.Session;
import io.holdfast.kho.Memfd;
import io.holdfast.kho.Ownership;
import io.holdfast.kho.PreservedBlock;
import io.holdfast.kho.PreservedMap;
import io.holdfast.kho.RadixTree;
import io.holdfast.kho.StartingPoint;
import io.holdfast.kho.build.Damage;
import io.holdfast.kho.memory.ElfCore;
import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.kho.memory.PhysicalMemory;
import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.MemfdOption;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.linux.Protection;
import io.holdfast.linux.Seal;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * What a real kernel hands over, decoded outside from a dump of its memory: twenty memfds in five
 * sessions, of random sizes, contents, seals and positions, on pages of several orders. What is
 * decoded is what crosses the kexec; the check of it is clean; and each damage that is written into
 * a copy of the dump is found.
 */
@Promise("handovers")
public class HandoverDecoded implements Scenario {
  private static final int MEMFDS = 20;
  private static final int SESSIONS = 5;
  private static final int MOST_BYTES = 4 << 20;
  private static final int CHUNK = 1 << 20;
  private static final String MADE = "memfds";
  private static final String ENABLED = "shmem_enabled";
  private static final Path HUGE = Path.of("/sys/kernel/mm/transparent_hugepage");

  /** A memfd, as both halves and the outside tell of it, by a line of text. */
  private record Made(
      String session, long token, long size, long position, int seals, String hash) {
    String line() {
      return "%s %s %d %d %d %s"
          .formatted(session, Long.toUnsignedString(token), size, position, seals, hash);
    }

    static Made of(String line) {
      String[] parts = line.split(" ", -1);
      return new Made(
          parts[0],
          Long.parseUnsignedLong(parts[1]),
          Long.parseLong(parts[2]),
          Long.parseLong(parts[3]),
          Integer.parseInt(parts[4]),
          parts[5]);
    }
  }

  @Override
  public String title() {
    return "what a kernel hands over is decoded from its memory, and each damage to it is found";
  }

  @Override
  public Setup setup() {
    // So much that scratch is less than half of what is free: else large pages come from there, and
    // are split when they are preserved, since preserving has to move them out of it.
    return Setup.standard()
        .withMemory(1280)
        .withCommandLine("reserve_mem=1M:4096:holdfast-log")
        .withDumpAt("machine_kexec");
  }

  @Override
  public void before(Inside in) throws IOException {
    long seed = System.nanoTime();
    in.note("seed " + seed);
    Random random = new Random(seed);
    List<String> made = new ArrayList<>();
    List<OutgoingSession> sessions = new ArrayList<>();
    for (int i = 0; i < SESSIONS; i++) {
      sessions.add(in.linux().liveUpdate().create("decoded-" + i));
    }
    for (int i = 0; i < MEMFDS; i++) {
      // Mostly several megabytes; one of nothing, one of a byte, one of whole huge pages.
      long size =
          switch (i) {
            case 0 -> 0;
            case 1 -> 1;
            case 2 -> MOST_BYTES;
            // Those that may have large pages are large enough for them.
            default ->
                i % 2 == 0 || isHuge(i)
                    ? MOST_BYTES - random.nextInt(1 << 20)
                    : random.nextInt(1 << 20);
          };
      pages(i);
      Fd memfd = in.linux().memfd("decoded", size, MemfdOption.ALLOW_SEALING);
      fill(in.linux(), memfd, size, random, !isHuge(i));
      Set<Seal> seals = EnumSet.noneOf(Seal.class);
      Stream.of(Seal.GROW, Seal.SHRINK).filter(_ -> random.nextBoolean()).forEach(seals::add);
      in.linux().seal(memfd, seals);
      long position = random.nextInt(1 << 20);
      in.linux().seek(memfd, position);
      long token = i == 5 ? -1 : i + 1000L * random.nextInt(1000);
      OutgoingSession session = sessions.get(i % SESSIONS);
      session.preserve(memfd, token);
      made.add(
          new Made(
                  session.name(), token, size, position, bits(seals), hash(in.linux(), memfd, size))
              .line());
    }
    Files.write(in.exchange().resolve(MADE), made);
    in.kexec();
  }

  /** Whether a memfd is to be of the largest pages, which the kernel gives to whoever writes. */
  private static boolean isHuge(int number) {
    return number % 4 == 1;
  }

  /**
   * Has the kernel use pages of one size or another for the next memfd, where it can. What is said
   * for one size counts for mappings of memfds; what is said for all, for write(2) too (mm/shmem.c,
   * shmem_allowable_huge_orders()).
   */
  private static void pages(int number) throws IOException {
    if (!Files.exists(HUGE)) {
      return;
    }
    Files.writeString(HUGE.resolve(ENABLED), isHuge(number) ? "always" : "never");
    List<Path> sizes;
    try (Stream<Path> folders = Files.list(HUGE)) {
      sizes = folders.map(each -> each.resolve(ENABLED)).filter(Files::exists).sorted().toList();
    }
    for (int i = 0; i < sizes.size(); i++) {
      boolean wanted = number % 2 == 0 && i == number / 2 % sizes.size();
      Files.writeString(sizes.get(i), wanted ? "always" : "never");
    }
  }

  /**
   * Writes random bytes, by write(2) or through a mapping. Here and there a hole is left, which is
   * filled when the memfd is preserved.
   */
  private static void fill(Linux linux, Fd memfd, long size, Random random, boolean mapped) {
    if (size == 0) {
      return;
    }
    try (Mapping mapping = linux.map(memfd, 0, size, Protection.WRITE)) {
      for (long at = 0; at < size; at += CHUNK) {
        byte[] chunk = new byte[(int) Math.min(CHUNK, size - at)];
        if (random.nextInt(5) == 0) {
          continue;
        }
        random.nextBytes(chunk);
        if (mapped) {
          MemorySegment.copy(MemorySegment.ofArray(chunk), 0, mapping.segment(), at, chunk.length);
        } else {
          linux.seek(memfd, at);
          linux.write(memfd, MemorySegment.ofArray(chunk));
        }
      }
    }
  }

  private static int bits(Set<Seal> seals) {
    // F_SEAL_SEAL, F_SEAL_SHRINK and F_SEAL_GROW of fcntl(2).
    return (seals.contains(Seal.SEAL) ? 1 : 0)
        | (seals.contains(Seal.SHRINK) ? 2 : 0)
        | (seals.contains(Seal.GROW) ? 4 : 0);
  }

  private static String hash(Linux linux, Fd memfd, long size) {
    MessageDigest digest = digest();
    if (size > 0) {
      try (Mapping mapped = linux.map(memfd, 0, size, Protection.READ)) {
        update(digest, mapped.segment());
      }
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  private static MessageDigest digest() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new UncheckedIOException(new IOException(e));
    }
  }

  private static void update(MessageDigest digest, MemorySegment bytes) {
    for (long at = 0; at < bytes.byteSize(); at += CHUNK) {
      digest.update(
          bytes.asSlice(at, Math.min(CHUNK, bytes.byteSize() - at)).toArray(ValueLayout.JAVA_BYTE));
    }
  }

  @Override
  public void after(Inside in) throws IOException {
    Map<String, List<Made>> bySession = new TreeMap<>();
    for (String line : Files.readAllLines(in.exchange().resolve(MADE))) {
      Made made = Made.of(line);
      bySession.computeIfAbsent(made.session, _ -> new ArrayList<>()).add(made);
    }
    for (Map.Entry<String, List<Made>> each : bySession.entrySet()) {
      try (IncomingSession session = in.linux().liveUpdate().retrieve(each.getKey())) {
        for (Made made : each.getValue()) {
          try (Fd memfd = session.retrieve(made.token)) {
            long size = in.linux().size(memfd);
            Made found =
                new Made(
                    made.session,
                    made.token,
                    size,
                    in.linux().position(memfd),
                    bits(in.linux().seals(memfd)),
                    hash(in.linux(), memfd, size));
            in.same("it crossed: " + made.session + ", " + made.token, made.line(), found.line());
          }
        }
        session.finish();
      }
    }
  }

  @Override
  public void outside(Outside out) throws IOException {
    List<String> made = Files.readAllLines(out.exchange().resolve(MADE));
    long began = System.nanoTime();
    StartingPoint start;
    try (ElfCore core = ElfCore.open(out.dump())) {
      start = StartingPoint.find(core).orElseThrow();
      out.note("found " + start.how());
      Handover handover = Handover.read(core, start);
      out.note("decoded in %d ms".formatted((System.nanoTime() - began) / 1_000_000));
      out.check("the scratch areas were found", start.scratch().isPresent());
      out.same(
          "all of it is what was made",
          made.stream().sorted().collect(Collectors.joining("\n")),
          decoded(handover).stream().sorted().collect(Collectors.joining("\n")));
      out.note("preserved: " + handover.map() + "; blocks by order: " + orders(handover));
      out.check("on pages of several orders", orders(handover).size() > 2);
      out.same(
          "the metadata tells this kernel",
          Files.readString(out.kernel().folder().orElseThrow().resolve("release")).strip(),
          handover.metadata().orElseThrow().release());
      out.same(
          "the reserved region is there",
          List.of("holdfast-log"),
          handover.regions().stream().map(each -> each.name()).toList());
      out.note("preserved for nobody that is known: " + handover.ownership().unknown() + " pages");
      for (Ownership.Share each : handover.ownership().shares()) {
        if (each.pages() > 500) {
          out.note(each.owner() + ": " + each.blocks() + " blocks, " + each.size() + " bytes");
        }
      }
      List<Defect> defects = Handover.verify(core, start).defects();
      out.same("the check is clean", List.of(), defects);
      List<Long> keys = keys(core, handover.state().map());
      out.check(
          "the kernel's own map has a key for each block", keys.size() == handover.map().blocks());
      out.check(
          "the same blocks, written as a tree by us, have exactly those keys",
          keys.equals(keys(handover.map())));
    }
    damage(out, start);
    Files.delete(out.dump());
  }

  private static List<Long> keys(PhysicalMemory memory, long root) {
    List<Long> keys = new ArrayList<>();
    RadixTree.forEachKey(memory, root, keys::add);
    return keys;
  }

  private static List<Long> keys(PreservedMap map) {
    MemoryArena arena = new MemoryArena(0, MemorySegment.ofArray(new byte[CHUNK]), List.of());
    return keys(arena, RadixTree.write(map, arena).getFirst());
  }

  private static List<String> decoded(Handover handover) {
    List<String> decoded = new ArrayList<>();
    for (Session session : handover.luo().orElseThrow().sessions()) {
      for (PreservedFile file : session.files()) {
        if (file.state() instanceof Memfd memfd) {
          MessageDigest digest = digest();
          memfd.content(handover.memory(), handover.map(), (_, bytes) -> update(digest, bytes));
          decoded.add(
              new Made(
                      session.name(),
                      file.token(),
                      memfd.size(),
                      memfd.position(),
                      memfd.seals(),
                      HexFormat.of().formatHex(digest.digest()))
                  .line());
        }
      }
    }
    return decoded;
  }

  private static Map<Integer, Long> orders(Handover handover) {
    Map<Integer, Long> orders = new LinkedHashMap<>();
    for (int order = 0; order <= PreservedBlock.MAX_ORDER; order++) {
      if (handover.map().blocks(order) > 0) {
        orders.put(order, handover.map().blocks(order));
      }
    }
    return orders;
  }

  private static void damage(Outside out, StartingPoint start) {
    int found = 0;
    for (Damage damage : Damage.values()) {
      try (ElfCore copy = ElfCore.openCopy(out.dump())) {
        if (!damage.inflict(Handover.read(copy, start))) {
          out.note("nothing to damage as " + damage);
          continue;
        }
        List<Defect> defects = Handover.verify(copy, start).defects();
        boolean told = defects.stream().anyMatch(each -> each.rule() == damage.rule());
        out.check("damage is found: " + damage, told);
        found += told ? 1 : 0;
      }
    }
    out.note(found + " of " + Damage.values().length + " kinds of damage found");
    out.check("at least 20 kinds of it", found >= 20);
  }
}
