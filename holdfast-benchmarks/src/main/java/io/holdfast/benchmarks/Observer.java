package io.holdfast.benchmarks;

import io.holdfast.linux.Linux;
import io.holdfast.varlink.json.JsonObject;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;

/**
 * Watches a test guest's heartbeat from a process of its own, apart from the agent and from every
 * QEMU: maps the guest's RAM and samples the counter more often than every 200 µs, for as long as
 * the memory lives, whoever runs the guest.
 *
 * <p>Arguments: the process that has the memory open, the descriptor's number there, and the boot
 * id in hexadecimal. It writes one line of JSON when it samples ({@code ready}). Then it reads
 * lines:
 *
 * <ul>
 *   <li>{@code mark LABEL} ends a window and writes what was seen in it, an {@link Observation} as
 *       one line of JSON;
 *   <li>the end of its input ends it.
 * </ul>
 *
 * <p>The sampling thread sleeps between samples, as a spin would take one of few CPUs away from the
 * guest; it has a real-time priority where that is allowed, a timer slack of 1 ns, and allocates
 * nothing. When it is late all the same, its figures say so ({@link Observation#worst}, {@link
 * Gap#isVoid}).
 */
public final class Observer {
  /** Of 1 to 99: above everything that isn't itself real-time. */
  private static final int PRIORITY = 50;

  private static final long SLEEP_NANOS = 100_000;
  private static final long WARM_UP_SAMPLES = 6_000;
  private static final ValueLayout.OfLong WORD = ValueLayout.JAVA_LONG;

  private final MemorySegment ram;
  private final Heartbeat first;
  private final AtomicReference<String> mark = new AtomicReference<>("");
  private final SynchronousQueue<Observation> answers = new SynchronousQueue<>();
  private final SynchronousQueue<Boolean> started = new SynchronousQueue<>();
  private volatile boolean stopped;

  private Observer(MemorySegment ram, Heartbeat first) {
    this.ram = ram;
    this.first = first;
  }

  /** See {@link Observer}. */
  public static void main(String[] arguments) throws InterruptedException {
    if (arguments.length != 3) {
      System.err.println("usage: Observer PID DESCRIPTOR BOOT-ID");
      System.exit(2);
    }
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    try (GuestMemory memory =
        GuestMemory.ofProcess(
            Linux.system(), Integer.parseInt(arguments[0]), Integer.parseInt(arguments[1]))) {
      Heartbeat heartbeat = memory.heartbeat(Long.parseUnsignedLong(arguments[2], 16));
      new Observer(memory.ram(), heartbeat).serve(out);
    }
  }

  private void serve(PrintStream out) throws InterruptedException {
    Thread sampler = new Thread(this::sample, "sampler");
    sampler.start();
    boolean realTime = started.take();
    out.println(JsonObject.of("ready", true, "realTime", realTime));
    try (BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        if (line.startsWith("mark ")) {
          mark.set(line.substring("mark ".length()));
          out.println(answers.take().json());
        } else {
          out.println(JsonObject.of("error", "unknown: " + line + "; there is: mark LABEL"));
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException("reading standard input", e);
    } finally {
      stopped = true;
      sampler.join();
    }
  }

  private void sample() {
    try {
      boolean realTime = Linux.system().realTime(PRIORITY);
      sharpTimers();
      long count = first.offset() + Heartbeat.COUNT;
      long boot = first.offset() + Heartbeat.BOOT;
      long cpuid = first.offset() + Heartbeat.CPUID;
      long lastBoot = first.boot();
      long lastCpuid = ram.get(WORD, cpuid);
      long boots = 0;
      long cpuids = 0;
      GapTracker gaps = new GapTracker(System.nanoTime(), System.nanoTime(), ram.get(WORD, count));
      for (long turn = 0; !stopped; turn++) {
        long before = System.nanoTime();
        long value = ram.get(WORD, count);
        gaps.sample(before, System.nanoTime(), value);
        long bootNow = ram.get(WORD, boot);
        if (bootNow != lastBoot) {
          boots++;
          lastBoot = bootNow;
        }
        long cpuidNow = ram.get(WORD, cpuid);
        if (cpuidNow != lastCpuid) {
          cpuids++;
          lastCpuid = cpuidNow;
        }
        if (turn == WARM_UP_SAMPLES) {
          // Compiled by now; a first observation loads what a mark needs.
          var _ = observation("", gaps.figures(), boots, cpuids);
          started.put(realTime);
          gaps.reset();
        }
        String label = mark.get();
        if (!label.isEmpty() && turn > WARM_UP_SAMPLES) {
          mark.set("");
          answers.put(observation(label, gaps.figures(), boots, cpuids));
          gaps.reset();
          boots = cpuids = 0;
        }
        LockSupport.parkNanos(SLEEP_NANOS);
      }
    } catch (InterruptedException | IOException e) {
      e.printStackTrace();
      System.exit(1);
    }
  }

  private Observation observation(String label, GapTracker.Figures f, long boots, long cpuids) {
    return new Observation(
        label,
        f.length(),
        f.samples(),
        f.late(),
        f.worst(),
        f.lastCount() - f.firstCount(),
        f.backwards(),
        boots,
        cpuids,
        f.open(),
        f.longest(),
        f.longestSound(),
        Heartbeat.read(ram, first.offset()));
  }

  /**
   * Lets this thread's sleeps end when they should and not up to 50 µs later (prctl(2),
   * PR_SET_TIMERSLACK; here through /proc, where a thread may change its own).
   */
  private static void sharpTimers() throws IOException {
    String thread = Files.readSymbolicLink(Path.of("/proc/thread-self")).getFileName().toString();
    Path slack = Path.of("/proc/" + thread + "/timerslack_ns");
    if (Files.isWritable(slack)) {
      Files.writeString(slack, "1");
    }
  }
}
