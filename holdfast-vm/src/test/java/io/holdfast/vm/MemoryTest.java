package io.holdfast.vm;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.Test;

/** What preserving needs of the host's memory. */
final class MemoryTest {
  private static final int PAGE = 4096;

  @Test
  void pagesThatAMemfdLacksAreCounted() {
    Linux linux = Linux.system();
    try (Fd memfd = linux.memfd("sparse", 8 * PAGE)) {
      assertThat(Memory.unallocated(linux, memfd)).isEqualTo(8 * PAGE);
      linux.write(memfd, MemorySegment.ofArray(new byte[PAGE]));
      assertThat(Memory.unallocated(linux, memfd)).isEqualTo(7 * PAGE);
      linux.seek(memfd, 6 * PAGE);
      linux.write(memfd, MemorySegment.ofArray(new byte[2 * PAGE]));
      assertThat(Memory.unallocated(linux, memfd)).isEqualTo(5 * PAGE);
    }
    try (Fd empty = linux.memfd("empty", 0)) {
      assertThat(Memory.unallocated(linux, empty)).isZero();
    }
  }

  @Test
  void moreThanTheHostHasIsRefused() throws IOException {
    assertThat(Memory.forPreserving(0)).isEmpty();
    assertThat(Memory.forPreserving(1L << 60))
        .hasValueSatisfying(o -> assertThat(o.what()).isEqualTo("host memory"));
  }
}
