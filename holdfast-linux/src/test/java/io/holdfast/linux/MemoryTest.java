package io.holdfast.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.util.EnumSet;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Memfds, files and mappings. */
class MemoryTest {
  private static final long MIB = 1 << 20;
  private final Linux linux = Linux.system();

  @Test
  void whatAMemfdIsOnIsTold(@TempDir Path directory) throws IOException {
    try (Fd memfd = linux.memfd("m", 4096);
        Fd named = linux.open(directory.resolve("f"), OpenFlag.CREATE, OpenFlag.WRITE);
        Fd proc = linux.open(Path.of("/proc/self/stat"))) {
      assertThat(linux.fileSystem(memfd)).isEqualTo(FileSystem.TMPFS);
      assertThat(linux.links(memfd)).isZero();
      assertThat(linux.links(named)).isEqualTo(1);
      assertThat(linux.fileSystem(proc)).isEqualTo(FileSystem.OTHER);
    }
  }

  @Test
  @Promise("linux-layer")
  void mappingsOfOneMemfdAreTheSameMemory() {
    try (Fd ram = linux.memfd("ram", 4 * MIB);
        Mapping one = linux.map(ram, 0, 4 * MIB, Protection.READ, Protection.WRITE);
        Mapping other = linux.map(ram, MIB, MIB, Protection.READ)) {
      one.segment().set(ValueLayout.JAVA_LONG, MIB + 8, 42);
      assertThat(other.segment().byteSize()).isEqualTo(MIB);
      assertThat(other.segment().get(ValueLayout.JAVA_LONG, 8)).isEqualTo(42);
      assertThat(other.segment().isReadOnly()).isTrue();
    }
  }

  @Test
  void mappingOutlivesItsDescriptorAndIsInvalidAfterClose() {
    Mapping mapping;
    try (Fd ram = linux.memfd("ram", MIB)) {
      mapping = linux.map(ram, 0, MIB, Protection.WRITE);
    }
    MemorySegment segment = mapping.segment();
    segment.set(ValueLayout.JAVA_INT, 0, 1);
    assertThat(Self.memfdMappings()).isOne();
    mapping.close();
    mapping.close();
    assertThat(Self.memfdMappings()).isZero();
    assertThatIllegalStateException().isThrownBy(() -> segment.get(ValueLayout.JAVA_INT, 0));
    assertThatIllegalStateException().isThrownBy(mapping::populate);
    try (Fd fd = linux.memfd("other", MIB)) {
      assertThatIllegalStateException().isThrownBy(() -> linux.read(fd, segment));
      assertThatIllegalStateException().isThrownBy(() -> linux.write(fd, segment));
    }
  }

  @Test
  @Promise("linux-layer")
  void sealsHold() {
    try (Fd ram = linux.memfd("ram", MIB, MemfdOption.ALLOW_SEALING)) {
      assertThat(linux.seals(ram)).isEmpty();
      linux.seal(ram, EnumSet.of(Seal.SHRINK, Seal.GROW));
      assertThat(linux.seals(ram)).containsExactlyInAnyOrder(Seal.SHRINK, Seal.GROW);
      refused(Errno.EPERM, () -> linux.resize(ram, 2 * MIB));
      refused(Errno.EPERM, () -> linux.resize(ram, 0));
      try (Mapping mapping = linux.map(ram, 0, MIB, Protection.WRITE)) {
        mapping.segment().set(ValueLayout.JAVA_INT, 0, 1);
        refused(Errno.EBUSY, () -> linux.seal(ram, Set.of(Seal.WRITE)));
      }
      linux.seal(ram, Set.of(Seal.WRITE, Seal.SEAL));
      refused(Errno.EPERM, () -> linux.map(ram, 0, MIB, Protection.WRITE));
      refused(Errno.EPERM, () -> linux.write(ram, MemorySegment.ofArray(new byte[1])));
      refused(Errno.EPERM, () -> linux.seal(ram, Set.of(Seal.FUTURE_WRITE)));
    }
    try (Fd unsealable = linux.memfd("ram", MIB)) {
      assertThat(linux.seals(unsealable)).containsExactly(Seal.SEAL);
      refused(Errno.EPERM, () -> linux.seal(unsealable, Set.of(Seal.GROW)));
    }
  }

  @Test
  void everySealIsTheOneItSays() {
    for (Seal seal : Seal.values()) {
      try (Fd ram = linux.memfd("ram", MIB, MemfdOption.ALLOW_SEALING)) {
        linux.seal(ram, Set.of(seal));
        assertThat(linux.seals(ram)).containsExactly(seal);
      }
    }
  }

  @Test
  @Promise("linux-layer")
  void populateMakesEveryPagePresent() {
    try (Fd ram = linux.memfd("ram", 8 * MIB);
        Mapping mapping = linux.map(ram, 0, 8 * MIB, Protection.WRITE)) {
      assertThat(Self.smaps(mapping.segment().address(), "Rss")).isZero();
      mapping.populate();
      assertThat(Self.smaps(mapping.segment().address(), "Rss")).isEqualTo(8 * MIB);
      try (Mapping reading = linux.map(ram, 0, 8 * MIB, Protection.READ)) {
        reading.populate();
        assertThat(Self.smaps(reading.segment().address(), "Rss")).isEqualTo(8 * MIB);
      }
    }
  }

  @Test
  void transparentHugePagesWhereTheMachineAllowsThem() {
    Path settings = Path.of("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    assumeTrue(Files.exists(settings), "this kernel has no transparent huge pages");
    try (Fd ram = linux.memfd("ram", 16 * MIB);
        Mapping mapping = linux.map(ram, 0, 16 * MIB, Protection.WRITE)) {
      mapping.adviseHuge();
      mapping.populate();
      assertThat(Self.smaps(mapping.segment().address(), "Rss")).isEqualTo(16 * MIB);
      String setting = Self.text(settings.toString());
      assumeTrue(
          setting.matches(".*\\[(always|advise|within_size|force)].*"),
          () ->
              "the advice was taken, but memfds get no huge pages here: "
                  + settings
                  + " is "
                  + setting);
      assertThat(Self.smaps(mapping.segment().address(), "ShmemPmdMapped")).isPositive();
    }
  }

  @Test
  void reservedHugePages() throws IOException {
    Path reserve = Path.of("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
    assumeTrue(Files.isWritable(reserve), () -> "only root can reserve huge pages in " + reserve);
    int before = Integer.parseInt(Self.text(reserve.toString()));
    Files.writeString(reserve, Integer.toString(before + 4));
    try {
      int after = Integer.parseInt(Self.text(reserve.toString()));
      assumeTrue(
          after == before + 4, () -> "the machine's memory is too fragmented for 4 huge pages");
      refused(Errno.EINVAL, () -> linux.memfd("odd", MIB, MemfdOption.HUGE_2M));
      try (Fd ram = linux.memfd("ram", 8 * MIB, MemfdOption.HUGE_2M);
          Mapping mapping = linux.map(ram, 0, 8 * MIB, Protection.WRITE)) {
        mapping.populate();
        assertThat(Self.smaps(mapping.segment().address(), "KernelPageSize")).isEqualTo(2 * MIB);
        assertThat(
                Self.smaps(mapping.segment().address(), "Shared_Hugetlb")
                    + Self.smaps(mapping.segment().address(), "Private_Hugetlb"))
            .isEqualTo(8 * MIB);
        try (Fd more = linux.memfd("more", 64 * MIB, MemfdOption.HUGE_2M)) {
          assertThatThrownBy(() -> linux.map(more, 0, 64 * MIB, Protection.WRITE))
              .isInstanceOf(SystemCallException.class)
              .hasMessageContaining("nr_hugepages");
        }
      }
    } finally {
      Files.writeString(reserve, Integer.toString(before));
    }
    assertThat(Self.text(reserve.toString())).isEqualTo(Integer.toString(before));
  }

  @Test
  void sizesAndAllocation() {
    try (Fd ram = linux.memfd("ram", MIB)) {
      assertThat(linux.size(ram)).isEqualTo(MIB);
      linux.resize(ram, 3 * MIB);
      assertThat(linux.size(ram)).isEqualTo(3 * MIB);
      assertThat(linux.nextData(ram, 0)).isEmpty();
      assertThat(allocated(ram)).isZero();
      linux.allocate(ram, 3 * MIB, MIB);
      assertThat(linux.size(ram)).isEqualTo(4 * MIB);
      assertThat(allocated(ram)).isEqualTo(MIB);
      refused(Errno.EINVAL, () -> linux.resize(ram, -1));
    }
  }

  @Test
  void dataAndHoles() {
    try (Fd ram = linux.memfd("ram", 16 * MIB)) {
      linux.seek(ram, 5 * MIB);
      linux.write(ram, MemorySegment.ofArray(new byte[(int) MIB]));
      assertThat(linux.nextData(ram, 0)).hasValue(5 * MIB);
      assertThat(linux.nextHole(ram, 5 * MIB)).isEqualTo(6 * MIB);
      assertThat(linux.nextHole(ram, 0)).isZero();
      assertThat(linux.nextData(ram, 6 * MIB)).isEmpty();
      assertThat(linux.nextData(ram, 99 * MIB)).isEmpty();
      assertThat(linux.nextHole(ram, 10 * MIB)).isEqualTo(10 * MIB);
      refused(Errno.ENXIO, () -> linux.nextHole(ram, 16 * MIB));
    }
  }

  @Test
  void readsWhatWasWrittenOnAndOffTheHeap() {
    byte[] bytes = new byte[100_000];
    new Random(1).nextBytes(bytes);
    try (Fd file = linux.memfd("file", 0);
        Arena arena = Arena.ofConfined()) {
      linux.write(file, MemorySegment.ofArray(bytes));
      linux.write(file, arena.allocate(bytes.length).copyFrom(MemorySegment.ofArray(bytes)));
      assertThat(linux.size(file)).isEqualTo(2L * bytes.length);
      linux.seek(file, 0);
      MemorySegment heap = MemorySegment.ofArray(new byte[bytes.length]);
      assertThat(linux.read(file, heap)).isEqualTo(bytes.length);
      assertThat(heap.mismatch(MemorySegment.ofArray(bytes))).isEqualTo(-1);
      MemorySegment nativeMemory = arena.allocate(bytes.length + 10L);
      assertThat(linux.read(file, nativeMemory)).isEqualTo(bytes.length);
      assertThat(nativeMemory.asSlice(0, bytes.length).mismatch(heap)).isEqualTo(-1);
      assertThat(linux.read(file, heap)).as("at the end").isZero();
      assertThatIllegalArgumentException().isThrownBy(() -> linux.read(file, MemorySegment.NULL));
      assertThatIllegalArgumentException().isThrownBy(() -> linux.read(file, heap.asReadOnly()));
    }
  }

  @Test
  void writeGoesOnUntilAllIsWritten() throws InterruptedException {
    byte[] bytes = new byte[1_000_000]; // many times what a pipe holds
    new Random(2).nextBytes(bytes);
    try (Pipe pipe = linux.pipe()) {
      Thread writer =
          Thread.ofPlatform()
              .start(
                  () -> {
                    linux.write(pipe.writer(), MemorySegment.ofArray(bytes));
                    pipe.writer().close();
                  });
      byte[] got = new byte[bytes.length];
      int at = 0;
      int n;
      while ((n =
              linux.read(
                  pipe.reader(),
                  MemorySegment.ofArray(got).asSlice(at, Math.min(7000, got.length - at))))
          > 0) {
        at += n;
        if (at == got.length) {
          break;
        }
      }
      writer.join();
      assertThat(got).isEqualTo(bytes);
    }
  }

  @Test
  void opensFiles(@TempDir Path directory) throws IOException {
    Path path = directory.resolve("fïle");
    try (Fd made = linux.open(path, OpenFlag.WRITE, OpenFlag.CREATE, OpenFlag.EXCLUSIVE)) {
      linux.write(made, MemorySegment.ofArray("one".getBytes(StandardCharsets.UTF_8)));
      refused(Errno.EBADF, () -> linux.read(made, MemorySegment.ofArray(new byte[1])));
    }
    assertThat(Files.getPosixFilePermissions(path))
        .containsExactlyInAnyOrder(PosixFilePermission.OWNER_READ, PosixFilePermission.OWNER_WRITE);
    refused(
        Errno.EEXIST, () -> linux.open(path, OpenFlag.WRITE, OpenFlag.CREATE, OpenFlag.EXCLUSIVE));
    try (Fd appended = linux.open(path, OpenFlag.READ, OpenFlag.WRITE, OpenFlag.APPEND)) {
      linux.write(appended, MemorySegment.ofArray("two".getBytes(StandardCharsets.UTF_8)));
      linux.seek(appended, 0);
      assertThat(Self.readAll(linux, appended)).isEqualTo("onetwo");
    }
    try (Fd read = linux.open(path)) {
      refused(Errno.EBADF, () -> linux.write(read, MemorySegment.ofArray(new byte[1])));
      refused(Errno.EACCES, () -> linux.map(read, 0, 6, Protection.WRITE));
    }
    linux.open(path, OpenFlag.WRITE, OpenFlag.TRUNCATE).close();
    assertThat(Files.size(path)).isZero();
  }

  @Test
  void nonblockingReadsDoNotWait(@TempDir Path directory) {
    try (Pipe pipe = linux.pipe();
        Fd again =
            linux.open(Path.of("/proc/self/fd/" + pipe.reader().number()), OpenFlag.NONBLOCK)) {
      refused(Errno.EAGAIN, () -> linux.read(again, MemorySegment.ofArray(new byte[1])));
    }
  }

  @Test
  void reopenedIsTheSameMemoryWithItsOwnPosition() {
    int self = (int) ProcessHandle.current().pid();
    try (Fd ram = linux.memfd("ram", MIB);
        Fd again = linux.reopen(self, ram.number());
        Fd other = linux.memfd("ram", MIB)) {
      assertThat(linux.identity(again))
          .isEqualTo(linux.identity(ram))
          .isNotEqualTo(linux.identity(other));
      linux.seek(ram, 100);
      linux.write(ram, MemorySegment.ofArray(new byte[] {7}));
      linux.seek(again, 100);
      byte[] one = new byte[1];
      linux.read(again, MemorySegment.ofArray(one));
      assertThat(one[0]).isEqualTo((byte) 7);
      refused(Errno.ENOENT, () -> linux.reopen(self, 99_999));
    }
  }

  @Test
  void wrongArgumentsAreRefused() {
    try (Fd ram = linux.memfd("ram", MIB)) {
      assertThatIllegalArgumentException().isThrownBy(() -> linux.map(ram, 0, MIB));
      refused(Errno.EINVAL, () -> linux.map(ram, 1, MIB, Protection.READ));
      refused(Errno.EINVAL, () -> linux.map(ram, 0, 0, Protection.READ));
      assertThatIllegalArgumentException().isThrownBy(() -> linux.memfd("a\0b", 1));
      refused(Errno.EINVAL, () -> linux.memfd("x".repeat(250), 1));
    }
  }

  /** How many bytes a file occupies: st_blocks of struct stat, in blocks of 512 bytes. */
  private static long allocated(Fd fd) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment stat = arena.allocate(144, 8);
      assertThat(Kernel.system().call(Call.FSTAT, fd.number(), stat.address(), 0, 0, 0, 0))
          .isZero();
      return stat.get(ValueLayout.JAVA_LONG, 64) * 512;
    }
  }

  private static void refused(
      Errno errno, org.assertj.core.api.ThrowableAssert.ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            SystemCallException.class, e -> assertThat(e.errno()).isEqualTo(errno));
  }
}
