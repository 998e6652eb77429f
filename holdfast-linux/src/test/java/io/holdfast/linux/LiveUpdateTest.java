package io.holdfast.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import io.holdfast.linux.LiveUpdate.Operation;
import io.holdfast.promise.Promise;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What reaches the kernel, and what its refusals become. That the kernel understands it is shown on
 * a real one, by the testbed's scenarios.
 */
class LiveUpdateTest {
  @TempDir Path directory;

  /** One request as the kernel sees it: the ioctl's number, and the structure's bytes. */
  private record Request(int number, MemorySegment structure) {}

  private final List<Request> requests = new ArrayList<>();
  private Optional<Errno> refusal = Optional.empty();

  /** Answers ioctl as the orchestrator would, with descriptors of /dev/null; all else is real. */
  private final Kernel kernel =
      (call, a, b, c, d, e, f) -> {
        if (call != Call.IOCTL) {
          return Kernel.system().call(call, a, b, c, d, e, f);
        }
        MemorySegment structure = MemorySegment.ofAddress(c).reinterpret(72);
        int size = structure.get(ValueLayout.JAVA_INT, 0);
        requests.add(
            new Request(
                (int) b,
                MemorySegment.ofArray(structure.asSlice(0, size).toArray(ValueLayout.JAVA_BYTE))));
        if (refusal.isPresent()) {
          return -refusal.get().number();
        }
        int kind = (int) b & 0xff;
        if (kind <= 1 || kind == 0x41) {
          structure.set(
              ValueLayout.JAVA_INT, 4, Linux.system().open(Path.of("/dev/null")).release());
        } else if (kind == 0x43) {
          structure.setString(8, "from the kernel", StandardCharsets.UTF_8);
        }
        return 0;
      };

  private final Calls calls = new Calls(kernel);

  private LiveUpdate liveUpdate() throws java.io.IOException {
    Path device = directory.resolve("liveupdate");
    if (!Files.exists(device)) {
      Files.createFile(device);
    }
    return new LiveUpdate(calls, device);
  }

  @Test
  @Promise("linux-layer")
  void requestsAreThoseOfTheKernelsHeader() throws Exception {
    var before = Self.descriptors();
    try (OutgoingSession out = liveUpdate().create("vm-1");
        IncomingSession in = liveUpdate().retrieve("vm-1");
        Fd memory = Linux.system().memfd("m", 1)) {
      out.preserve(memory, 0xFEDCBA9876543210L);
      in.retrieve(7).close();
      in.finish();
      assertThat(in.name()).isEqualTo("from the kernel");
      assertThat(requests.stream().map(Request::number))
          .containsExactly(0xBA00, 0xBA01, 0xBA40, 0xBA41, 0xBA42, 0xBA43);
      assertThat(requests.stream().map(r -> r.structure().byteSize()))
          .containsExactly(72L, 72L, 16L, 16L, 8L, 72L);
      assertThat(requests.get(0).structure().getString(8, StandardCharsets.UTF_8))
          .isEqualTo("vm-1");
      MemorySegment preserve = requests.get(2).structure();
      assertThat(preserve.get(ValueLayout.JAVA_INT_UNALIGNED, 4)).isEqualTo(memory.number());
      assertThat(preserve.get(ValueLayout.JAVA_LONG_UNALIGNED, 8)).isEqualTo(0xFEDCBA9876543210L);
    }
    assertThat(Self.descriptors()).isEqualTo(before);
  }

  @Test
  @Promise("kernel-update")
  void sessionsThatAreMadeAtTheSameTimeDoNotKeepEachOtherOut() throws Exception {
    AtomicLong opened = new AtomicLong(-1);
    Kernel exclusive =
        (call, a, b, c, d, e, f) -> {
          if (call == Call.OPEN && path(a).endsWith("/liveupdate")) {
            long number = kernel.call(call, a, b, c, d, e, f);
            if (!opened.compareAndSet(-1, number)) {
              long _ = kernel.call(Call.CLOSE, number, 0, 0, 0, 0, 0);
              return -Errno.EBUSY.number();
            }
            LockSupport.parkNanos(2_000_000);
            return number;
          }
          if (call == Call.CLOSE) {
            boolean _ = opened.compareAndSet(a, -1);
          }
          synchronized (requests) {
            return kernel.call(call, a, b, c, d, e, f);
          }
        };
    Path device = Files.createFile(directory.resolve("liveupdate"));
    try (ExecutorService threads = Executors.newFixedThreadPool(4)) {
      List<Future<?>> all = new ArrayList<>();
      for (int i = 0; i < 40; i++) {
        String name = "vm-" + i;
        all.add(
            threads.submit(
                () -> new LiveUpdate(new Calls(exclusive), device).create(name).close()));
      }
      for (Future<?> each : all) {
        Object _ = each.get();
      }
    }
    assertThat(requests).hasSize(40);
  }

  private static String path(long address) {
    return MemorySegment.ofAddress(address)
        .reinterpret(Long.MAX_VALUE)
        .getString(0, StandardCharsets.UTF_8);
  }

  @Test
  @Promise("linux-layer")
  void whatIsRetrievedIsCloseOnExec() throws Exception {
    try (IncomingSession in = liveUpdate().retrieve("vm-1");
        Fd fd = in.retrieve(1)) {
      int number = fd.number();
      String flags =
          Files.readAllLines(Path.of("/proc/self/fdinfo/" + number)).stream()
              .filter(l -> l.startsWith("flags:"))
              .findFirst()
              .orElseThrow();
      long value = Long.parseLong(flags.substring(6).strip(), 8);
      assertThat(value & Linux.O_CLOEXEC).isNotZero();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "with\0nul"})
  @Promise("linux-layer")
  void refusesNamesThatTheKernelCanNotHave(String name) {
    assertThatThrownBy(() -> liveUpdate().create(name))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("1 to 63 bytes");
    assertThat(requests).isEmpty();
  }

  @Test
  void namesAreCountedInBytes() throws Exception {
    liveUpdate().create("ä".repeat(31)).close();
    assertThatThrownBy(() -> liveUpdate().create("ä".repeat(32)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("64");
  }

  @ParameterizedTest
  @CsvSource({
    "OPEN, ENOENT, liveupdate=on",
    "OPEN, EBUSY, one at a time",
    "OPEN, EIO, lost",
    "OPEN, EACCES, root",
    "CREATE, EEXIST, of this name",
    "RETRIEVE, ENOENT, previous kernel left no session",
    "RETRIEVE, EINVAL, retrieved before",
    "PRESERVE, ENOENT, of huge pages",
    "PRESERVE, EEXIST, token",
    "PRESERVE, EBUSY, preserved already",
    "PRESERVE, EOPNOTSUPP, seal",
    "PRESERVE, ENOSPC, full",
    "RETRIEVE_FD, ENOENT, under this token",
    "RETRIEVE_FD, EIO, memory is lost",
    "FINISH, EBUSY, try again",
    "GET_NAME, ENOTTY, no live update session",
  })
  @Promise("linux-layer")
  void adviceFitsTheOperation(Operation operation, Errno errno, String says) {
    assertThat(Advice.on(operation, errno)).contains(says);
  }

  @Test
  @Promise("linux-layer")
  void everyAdviceIsSentences() {
    for (Operation operation : Operation.values()) {
      for (Errno errno : Errno.values()) {
        String advice = Advice.on(operation, errno);
        assertThat(
                advice.isEmpty()
                    || (Character.isUpperCase(advice.charAt(0)) && advice.endsWith(".")))
            .as("%s %s: %s", operation, errno, advice)
            .isTrue();
      }
    }
  }

  @Test
  void aRefusalNamesTheSessionAndTheOperationAndLeavesNothing() throws Exception {
    var before = Self.descriptors();
    refusal = Optional.of(Errno.EEXIST);
    assertThatThrownBy(() -> liveUpdate().create("vm-1"))
        .isInstanceOf(SystemCallException.class)
        .hasMessage(
            "ioctl session vm-1, create session: EEXIST (File exists). A session of this name exists: choose another, or end"
                + " the process that holds that one.");
    assertThat(Self.descriptors()).isEqualTo(before);
  }

  @Test
  void withoutTheOrchestratorItSaysHowToGetIt() {
    Path device = Path.of("/dev/liveupdate");
    assumeFalse(Files.exists(device), "this machine has a live update orchestrator");
    assertThatThrownBy(() -> Linux.system().liveUpdate().create("vm-1"))
        .isInstanceOf(SystemCallException.class)
        .hasMessageContaining("open /dev/liveupdate")
        .hasMessageContaining("CONFIG_LIVEUPDATE");
  }

  @Test
  @Promise("linux-layer")
  void kexecRequestsAreThoseOfTheManual() throws Exception {
    Path image = Files.writeString(directory.resolve("image"), "no kernel");
    List<String> seen = new ArrayList<>();
    Kernel recording =
        (call, a, b, c, d, e, f) -> {
          if (call == Call.KEXEC_FILE_LOAD) {
            String line = d == 0 ? "" : MemorySegment.ofAddress(d).reinterpret(c).getString(0);
            seen.add(
                "load initramfs %s, %d bytes '%s', flags %d"
                    .formatted((int) b < 0 ? "none" : "some", c, line, e));
            return 0;
          }
          if (call == Call.REBOOT) {
            seen.add("reboot %x".formatted(a));
            return -Errno.EINVAL.number();
          }
          return Kernel.system().call(call, a, b, c, d, e, f);
        };
    Kexec kexec = new Linux(recording).kexec();
    kexec.load(image, Optional.empty(), "kho=on");
    kexec.load(image, Optional.of(image), "");
    kexec.unload();
    assertThatThrownBy(kexec::execute)
        .isInstanceOf(SystemCallException.class)
        .hasMessageContaining("No kernel is loaded");
    assertThat(seen)
        .containsExactly(
            "load initramfs none, 7 bytes 'kho=on', flags 4",
            "load initramfs some, 1 bytes '', flags 0",
            "load initramfs none, 0 bytes '', flags 1",
            "reboot 45584543");
  }
}
