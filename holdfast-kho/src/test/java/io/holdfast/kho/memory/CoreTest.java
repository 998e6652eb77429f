package io.holdfast.kho.memory;

import static io.holdfast.kho.memory.MemoryRange.PAGE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Core files: what is in them is found, and what is none is refused by what it is. */
final class CoreTest {
  /** Another one each night: tools/nightly. */
  private static final long FIRST_SEED = Long.getLong("holdfast.seed", 0);

  private static final byte[] CONTENT = new byte[5 * PAGE];

  static {
    new Random(7).nextBytes(CONTENT);
  }

  @TempDir private Path directory;

  private record Load(long address, int from, int size) {}

  /** A core with these parts of the content, in this order. */
  private static byte[] core(List<Load> loads) {
    ByteBuffer file =
        ByteBuffer.allocate(64 + 56 * (loads.size() + 1) + CONTENT.length)
            .order(ByteOrder.LITTLE_ENDIAN);
    int data = 64 + 56 * (loads.size() + 1);
    file.put(new byte[] {0x7f, 'E', 'L', 'F', 2, 1, 1}).position(16);
    file.putShort((short) 4).putShort((short) 62).putInt(1).putLong(0).putLong(64).putLong(0);
    file.putInt(0).putShort((short) 64).putShort((short) 56);
    file.putShort((short) (loads.size() + 1)).position(64);
    file.putInt(4).putInt(0).position(64 + 56);
    for (Load each : loads) {
      file.putInt(1).putInt(0).putLong(data + each.from).putLong(0).putLong(each.address);
      file.putLong(each.size).putLong(each.size).putLong(0);
    }
    return file.position(data).put(CONTENT).array();
  }

  private Path write(byte[] file) throws IOException {
    return Files.write(directory.resolve("core"), file);
  }

  private static byte[] content(int from, int size) {
    return Arrays.copyOfRange(CONTENT, from, from + size);
  }

  private static byte[] read(PhysicalMemory memory, long address, long size) {
    return memory.at(address, size).toArray(ValueLayout.JAVA_BYTE);
  }

  @Test
  @Promise("handovers")
  void memoryIsWhereTheSegmentsSay() throws IOException {
    Path file =
        write(
            core(
                List.of(
                    new Load(0x10_0000, 2 * PAGE, 2 * PAGE),
                    new Load(0, 0, 2 * PAGE),
                    new Load(0x10_2000, PAGE, PAGE))));
    try (ElfCore core = ElfCore.open(file)) {
      assertThat(core.ranges())
          .containsExactly(new MemoryRange(0, 2 * PAGE), new MemoryRange(0x10_0000, 3 * PAGE));
      assertThat(read(core, 17, 100)).isEqualTo(content(17, 100));
      assertThat(read(core, 0x10_0000, 2 * PAGE)).isEqualTo(content(2 * PAGE, 2 * PAGE));
      // Over the seam of two segments.
      byte[] seam = read(core, 0x10_1ff0, 32);
      assertThat(Arrays.copyOf(seam, 16)).isEqualTo(content(4 * PAGE - 16, 16));
      assertThat(Arrays.copyOfRange(seam, 16, 32)).isEqualTo(content(PAGE, 16));
      assertThat(core.contains(0x10_2fff, 1)).isTrue();
      for (long[] absent :
          new long[][] {
            {0x2000, 1}, {0x1fff, 2}, {-8, 8}, {0, 0}, {0, Long.MAX_VALUE}, {0x10_2ff0, 17}
          }) {
        assertThat(core.contains(absent[0], absent[1]) && absent[1] > 0).isFalse();
        assertThatThrownBy(() -> core.at(absent[0], absent[1]))
            .isInstanceOf(MemoryException.class)
            .hasMessageContaining("no memory is at");
      }
    }
  }

  @Test
  @Promise("handovers")
  void aCopyIsWrittenAndTheFileIsNot() throws IOException {
    Path file = write(core(List.of(new Load(0, 0, PAGE))));
    byte[] before = Files.readAllBytes(file);
    try (ElfCore copy = ElfCore.openCopy(file);
        ElfCore other = ElfCore.open(file)) {
      copy.at(8, 8).set(ValueLayout.JAVA_LONG_UNALIGNED, 0, 42);
      assertThat(copy.at(8, 8).get(ValueLayout.JAVA_LONG_UNALIGNED, 0)).isEqualTo(42);
      assertThat(read(other, 0, PAGE)).isEqualTo(content(0, PAGE));
      assertThatThrownBy(() -> other.at(8, 8).set(ValueLayout.JAVA_LONG_UNALIGNED, 0, 1))
          .isInstanceOf(IllegalArgumentException.class);
    }
    assertThat(Files.readAllBytes(file)).isEqualTo(before);
  }

  @Test
  @Promise("handovers")
  void whatIsNoCoreIsRefusedByWhatItIs() throws IOException {
    assertRefused("there is no file", directory.resolve("absent"));
    assertRefused("is a folder", directory);
    assertRefused("does not begin with ELF's magic number", bytes("hello, I am no core file"));
    assertRefused("does not begin with ELF's magic number", bytes(""));
    assertRefused("kdump-compressed", bytes("KDUMP   and what follows"));
    assertRefused("kdump-compressed", bytes("DISKDUMP"));
    assertRefused("no core: its type is 3", changed(16, 3));
    assertRefused("of machine 183; only x86-64", changed(18, 183));
    assertRefused("not a 64-bit", changed(4, 1));
    assertRefused("program header of 32 bytes", changed(54, 32));
    assertRefused("program headers at", changed(56, 0xfffe));
    assertRefused("is cut off", cut(64 + 2 * 56 + PAGE));
    assertRefused("is damaged or cut off", cut(70));
    assertRefused("it has 30 bytes", cut(30));
    assertRefused("has no memory in it", write(core(List.of())));
    assertRefused(
        "is damaged: it has 0x0-0x1000 and 0x800-0x1800",
        write(core(List.of(new Load(0, 0, PAGE), new Load(0x800, 0, PAGE)))));
    assertRefused(
        "are no range of physical memory", write(core(List.of(new Load(-4096, 0, PAGE)))));
  }

  private Path bytes(String text) throws IOException {
    return Files.writeString(directory.resolve("core"), text);
  }

  private Path changed(int at, int value) throws IOException {
    byte[] file = core(List.of(new Load(0, 0, PAGE)));
    var _ = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).putShort(at, (short) value);
    return write(file);
  }

  private Path cut(int size) throws IOException {
    byte[] all = core(List.of(new Load(0, 0, 4 * PAGE)));
    return Files.write(directory.resolve("core"), Arrays.copyOf(all, size));
  }

  private static void assertRefused(String message, Path file) {
    assertThatThrownBy(() -> ElfCore.open(file))
        .isInstanceOf(MemoryException.class)
        .hasMessageContaining(message);
  }

  @Test
  @Promise("handovers")
  void damagedHeadersAreRefusedOrReadAndNothingElse() throws IOException {
    byte[] whole = core(List.of(new Load(0, 0, PAGE), new Load(0x10_0000, PAGE, 3 * PAGE)));
    int refused = 0;
    for (long seed = FIRST_SEED; seed < FIRST_SEED + 3000; seed++) {
      Random random = new Random(seed);
      byte[] damaged = whole.clone();
      for (int i = 0; i <= seed % 3; i++) {
        damaged[random.nextInt(64 + 3 * 56)] = (byte) random.nextInt();
      }
      Path file = Files.write(directory.resolve("core"), damaged);
      try (ElfCore core = ElfCore.open(file)) {
        for (MemoryRange each : core.ranges()) {
          assertThat(core.at(each.address(), 1).byteSize()).isEqualTo(1);
          assertThat(core.at(each.end() - 1, 1).byteSize()).isEqualTo(1);
        }
      } catch (MemoryException e) {
        refused++;
      }
    }
    assertThat(refused).isGreaterThan(500);
  }

  @Test
  @Promise("handovers")
  void theLiveMachinesMemoryIsReadLikeACore() throws IOException {
    // A file in /proc/kcore's form: RAM, the kernel's text over it, and something without a place.
    Path file =
        write(
            core(
                List.of(
                    new Load(0x1000, 0, 3 * PAGE),
                    new Load(0x2000, PAGE, PAGE),
                    new Load(-1, 0, PAGE),
                    new Load(0x10_0000, 3 * PAGE, PAGE))));
    try (KernelCore core = KernelCore.open(file)) {
      assertThat(core.ranges())
          .containsExactly(new MemoryRange(0x1000, 3 * PAGE), new MemoryRange(0x10_0000, PAGE));
      assertThat(read(core, 0x1fff, PAGE)).isEqualTo(content(PAGE - 1, PAGE));
      assertThat(read(core, 0x10_0000, 5)).isEqualTo(content(3 * PAGE, 5));
      assertThatThrownBy(() -> core.at(0x3fff, 2)).isInstanceOf(MemoryException.class);
    }
    assertThatThrownBy(() -> KernelCore.open(directory.resolve("absent")))
        .isInstanceOf(MemoryException.class)
        .hasMessageContaining("CONFIG_PROC_KCORE");
  }

  @Test
  void anArenaGivesEachPageOnceAndNoneThatIsForbidden() {
    MemoryRange forbidden = new MemoryRange(0x20_0000 + 16 * PAGE, 16 * PAGE);
    MemorySegment bytes = MemorySegment.ofArray(new byte[64 * PAGE]);
    MemoryArena arena = new MemoryArena(0x20_0000, bytes, List.of(forbidden));
    boolean[] seen = new boolean[64];
    int taken = 0;
    for (int order : new int[] {0, 3, 1, 0, 2, 3, 0}) {
      long address = arena.take(order);
      assertThat(address % ((long) PAGE << order)).isZero();
      for (int i = 0; i < 1 << order; i++) {
        int page = (int) ((address - 0x20_0000) / PAGE) + i;
        assertThat(seen[page] || (page >= 16 && page < 32)).isFalse();
        seen[page] = true;
        taken++;
      }
      arena.at(address, PAGE).fill((byte) 1);
    }
    assertThat(arena.taken()).isEqualTo(taken);
    assertThatThrownBy(() -> arena.take(4)).isInstanceOf(MemoryException.class);
    assertThatThrownBy(() -> arena.give(0x20_0000 + 63 * PAGE, 3))
        .isInstanceOf(IllegalArgumentException.class);
    long again = arena.take(0);
    arena.give(again, 0);
    long first = arena.take(0);
    assertThat(arena.at(first, PAGE).get(ValueLayout.JAVA_BYTE, 0)).isZero();
  }
}
