package io.holdfast.linux;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Thousands of operations in a random order leave as many descriptors, mappings and processes as
 * there were.
 */
@Timeout(60)
class LeakTest {
  private static final int OPERATIONS = 6_000;
  private static final long SEED = Long.getLong("holdfast.seed", 20260101);
  private static final int HELD = 7;

  private final Linux linux = Linux.system();

  @Test
  @Promise("linux-layer")
  void thousandsOfOperationsLeaveNothing() {
    Random random = new Random(SEED);
    try (FdPair pair = linux.socketPair(SocketType.SEQPACKET);
        UnixSocket left = linux.adopt(pair.left());
        UnixSocket right = linux.adopt(pair.right());
        Fd held = linux.memfd("held", 4096);
        ChildProcess holder =
            linux.spawn(
                SpawnRequest.of(List.of("sleep", "100")).withInherited(Map.of(HELD, held)))) {
      one(random, left, right, held, holder);
      var descriptors = Self.descriptors();
      var children = Self.children();
      for (int i = 0; i < OPERATIONS; i++) {
        one(random, left, right, held, holder);
      }
      assertThat(Self.descriptors()).isEqualTo(descriptors);
      assertThat(Self.memfdMappings()).isZero();
      assertThat(Self.children()).isEqualTo(children);
      holder.pidfd().signal(Signal.KILL);
      holder.waitFor();
    }
  }

  private void one(Random random, UnixSocket left, UnixSocket right, Fd held, ChildProcess holder) {
    switch (random.nextInt(20)) {
      case 0, 1, 2, 3 -> {
        try (Fd fd = linux.memfd("m", 8192, MemfdOption.ALLOW_SEALING);
            Mapping mapping = linux.map(fd, 4096, 4096, Protection.WRITE)) {
          mapping.segment().set(ValueLayout.JAVA_INT, 0, 1);
        }
      }
      case 4, 5, 6 -> {
        try (FdPair pair = linux.socketPair(SocketType.STREAM);
            Pipe pipe = linux.pipe()) {
          assertThat(pair.left().number()).isNotEqualTo(pipe.reader().number());
        }
      }
      case 7, 8, 9, 10, 11, 12 -> {
        left.send(new byte[8], 0, 8, List.of(held, held, held));
        byte[] buffer = new byte[8];
        right.peek(buffer).orElseThrow().closeDescriptors();
        right.receive(buffer).closeDescriptors();
      }
      case 13, 14, 15, 16, 17 -> {
        try (Fd taken = holder.pidfd().take(HELD)) {
          assertThat(linux.identity(taken)).isEqualTo(linux.identity(held));
        }
      }
      case 18 -> {
        try (ChildProcess child =
            linux.spawn(SpawnRequest.of(List.of("true")).withInherited(Map.of(3, held)))) {
          assertThat(child.waitFor().success()).isTrue();
        }
      }
      default -> {
        try (Fd again = held.duplicate();
            PidFd handle = linux.pidfd(holder.pid())) {
          assertThat(again.isOpen() && !handle.hasExited()).isTrue();
        }
      }
    }
  }
}
