package io.holdfast.benchmarks;

import io.holdfast.agent.Agent;
import io.holdfast.agent.AgentPaths;
import io.holdfast.linux.Call;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.Linux;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Pattern;

/**
 * The agent on a kernel that kills somebody at a chosen moment: {@code FaultyAgent RUN FAULT}.
 *
 * <p>The file FAULT, which need not exist, says when and whom as {@link Fault#toString} writes it;
 * it strikes once, and the file is removed first. So one agent serves many faults.
 */
final class FaultyAgent {
  /** Who is killed. */
  enum Victim {
    AGENT,
    PREDECESSOR,
    SUCCESSOR,
    SUCCESSOR_AND_AGENT,

    /** The predecessor is stopped by SIGSTOP, and hangs until a test lets it go on. */
    PREDECESSOR_HANGS,

    /** The VM's other QEMUs are, such as a successor. */
    SUCCESSOR_HANGS,

    /** The process whose id is in the file {@link #ADOPTED} is stopped by SIGSTOP. */
    ADOPTED_HANGS,

    /** Nobody: the thread that made the call waits for {@link #LATE}, as on a busy host. */
    NOBODY
  }

  static final Duration LATE = Duration.ofSeconds(2);

  /** A file beside the run directory. */
  static final String ADOPTED = "adopted";

  /**
   * A moment and a victim.
   *
   * @param after whether the victim dies after the call that the moment is, or before it
   * @param call WRITE for the journal, SENDMSG for what goes to a QEMU: a command, or device state;
   *     RECVMSG for what comes from one, and then {@code after}
   * @param what a regular expression that finds something in the bytes written or read
   * @param skip how many such calls pass before that
   */
  record Fault(boolean after, Call call, String what, Victim victim, int skip) {
    Fault(boolean after, Call call, String what, Victim victim) {
      this(after, call, what, victim, 0);
    }

    static Fault parse(String text) {
      String[] lines = text.split("\n", -1);
      return new Fault(
          Boolean.parseBoolean(lines[0]),
          Call.valueOf(lines[1]),
          lines[2],
          Victim.valueOf(lines[3]),
          Integer.parseInt(lines[4]));
    }

    @Override
    public String toString() {
      return after + "\n" + call + "\n" + what + "\n" + victim + "\n" + skip;
    }
  }

  private static final int SIGKILL = 9;
  private static final int SIGSTOP = 19;

  // struct msghdr and struct iovec of x86-64 and AArch64.
  private static final int MSG_IOV = 16;
  private static final int MSG_BYTES = 56;
  private static final int IOVEC_BYTES = 16;
  private static final int MOST = 1 << 20;

  private final Path run;
  private final Path file;

  /** The fault that {@link #skipped} is of. */
  private Optional<Fault> counted = Optional.empty();

  private int skipped;

  private FaultyAgent(Path run, Path file) {
    this.run = run;
    this.file = file;
  }

  private long call(Call call, long a, long b, long c, long d, long e, long f) {
    if (call == Call.RECVMSG) {
      return received(Kernel.system().call(call, a, b, c, d, e, f), b);
    }
    boolean seen = call == Call.WRITE || call == Call.SENDMSG;
    if (!seen || !Files.exists(file)) {
      return Kernel.system().call(call, a, b, c, d, e, f);
    }
    try {
      Optional<Fault> armed = armed();
      if (armed.isEmpty()) {
        return Kernel.system().call(call, a, b, c, d, e, f);
      }
      Fault fault = armed.get();
      boolean now =
          fault.call() == call
              && Pattern.compile(fault.what()).matcher(bytes(call, b, c)).find()
              && isDue(fault)
              && Files.deleteIfExists(file);
      if (now && !fault.after()) {
        kill(fault.victim());
      }
      long result = Kernel.system().call(call, a, b, c, d, e, f);
      if (now && fault.after()) {
        kill(fault.victim());
      }
      return result;
    } catch (IOException x) {
      throw new UncheckedIOException(x);
    }
  }

  /** What a RECVMSG returned; it may have waited since before the fault was armed. */
  private long received(long result, long header) {
    if (result <= 0 || !Files.exists(file)) {
      return result;
    }
    try {
      Optional<Fault> fault = armed().filter(each -> each.call() == Call.RECVMSG);
      if (fault.isPresent()
          && Pattern.compile(fault.get().what()).matcher(bytes(Call.RECVMSG, header, result)).find()
          && isDue(fault.get())
          && Files.deleteIfExists(file)) {
        kill(fault.get().victim());
      }
      return result;
    } catch (IOException x) {
      throw new UncheckedIOException(x);
    }
  }

  /** Whether as many calls have passed as a fault skips; to be called once for each. */
  private synchronized boolean isDue(Fault fault) {
    if (!counted.equals(Optional.of(fault))) {
      counted = Optional.of(fault);
      skipped = 0;
    }
    boolean due = skipped++ == fault.skip();
    if (due) {
      counted = Optional.empty(); // armed again, it starts anew
    }
    return due;
  }

  /** Empty if another thread's call was the moment, just now. */
  private Optional<Fault> armed() throws IOException {
    try {
      return Optional.of(Fault.parse(Files.readString(file)));
    } catch (NoSuchFileException e) {
      return Optional.empty();
    }
  }

  /**
   * What a call is about to write, or has read; through the kernel, as it lies outside the heap.
   */
  private static String bytes(Call call, long b, long c) throws IOException {
    try (RandomAccessFile memory = new RandomAccessFile("/proc/self/mem", "r")) {
      long address = b;
      long length = c;
      if (call != Call.WRITE) {
        ByteBuffer header = read(memory, b, MSG_BYTES);
        ByteBuffer vector = read(memory, header.getLong(MSG_IOV), IOVEC_BYTES);
        address = vector.getLong(0);
        length = call == Call.RECVMSG ? c : vector.getLong(Long.BYTES);
      }
      byte[] text = read(memory, address, (int) Math.min(length, MOST)).array();
      return new String(text, StandardCharsets.ISO_8859_1);
    }
  }

  private static ByteBuffer read(RandomAccessFile memory, long address, int length)
      throws IOException {
    byte[] bytes = new byte[length];
    memory.seek(address);
    memory.readFully(bytes);
    return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  private void kill(Victim victim) throws IOException {
    switch (victim) {
      case AGENT -> killed(ProcessHandle.current().pid());
      case PREDECESSOR -> killed(Host.recordedProcess(run));
      case SUCCESSOR -> others(Host.recordedProcess(run)).forEach(FaultyAgent::killed);
      case SUCCESSOR_AND_AGENT -> {
        others(Host.recordedProcess(run)).forEach(FaultyAgent::killed);
        killed(ProcessHandle.current().pid());
      }
      case PREDECESSOR_HANGS -> stop(Host.recordedProcess(run));
      case SUCCESSOR_HANGS -> others(Host.recordedProcess(run)).forEach(FaultyAgent::stop);
      case ADOPTED_HANGS ->
          stop(Long.parseLong(Files.readString(run.resolveSibling(ADOPTED)).strip()));
      case NOBODY -> RunningGuest.pause(LATE.toMillis());
    }
  }

  private static void stop(long pid) {
    var _ = Kernel.system().call(Call.KILL, pid, SIGSTOP, 0, 0, 0, 0);
  }

  private List<Long> others(long predecessor) {
    return Host.qemus(run).stream().filter(pid -> pid != predecessor).toList();
  }

  /** Kills a process and returns when nothing of it runs any more. */
  private static void killed(long pid) {
    var _ = Kernel.system().call(Call.KILL, pid, SIGKILL, 0, 0, 0, 0);
    Host.await("the end of process " + pid, () -> !Host.alive(pid));
  }

  /** Runs it until it is killed. */
  public static void main(String[] args) throws IOException, InterruptedException {
    Path run = Path.of(args[0]);
    FaultyAgent faulty = new FaultyAgent(run, Path.of(args[1]));
    try (Agent agent =
        new Agent(new Linux(faulty::call), new AgentPaths(run, AgentPaths.defaultSocket(run)))) {
      agent.recovered().forEach(System.err::println);
      System.err.println("faulty " + Host.READY);
      new CountDownLatch(1).await();
    }
  }
}
