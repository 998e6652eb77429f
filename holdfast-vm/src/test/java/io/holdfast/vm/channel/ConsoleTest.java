package io.holdfast.vm.channel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Readiness;
import io.holdfast.promise.Promise;
import io.holdfast.store.VmId;
import io.holdfast.vm.Await;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The console's way with real sockets and pipes; the test is QEMU at the one end. */
@Timeout(300)
class ConsoleTest {
  private static final long LIMIT = 64 << 10;

  private final Linux linux = Linux.system();
  private final MemoryStore store = new MemoryStore();

  @TempDir Path directory;

  private Path log() {
    return directory.resolve("console.log");
  }

  private Console console(Linux on) {
    return new Console(on, store, VmId.named("vm"), "console", log(), LIMIT);
  }

  @AfterEach
  void end() {
    store.close();
  }

  // ---- QEMU's part, and a viewer's ----

  private void say(Fd qemu, String text) {
    linux.write(qemu, MemorySegment.ofArray(text.getBytes(StandardCharsets.UTF_8)));
  }

  private String hear(Fd from) {
    StringBuilder heard = new StringBuilder();
    byte[] buffer = new byte[1 << 16];
    while (!linux.poll(List.of(from), Duration.ZERO).isEmpty()) {
      int bytes = linux.read(from, MemorySegment.ofArray(buffer));
      if (bytes == 0) {
        break;
      }
      heard.append(new String(buffer, 0, bytes, StandardCharsets.UTF_8));
    }
    return heard.toString();
  }

  private String hear(Fd from, int length) {
    StringBuilder heard = new StringBuilder();
    Await.until(
        length + " bytes",
        () -> {
          heard.append(hear(from));
          return heard.length() >= length;
        });
    return heard.toString();
  }

  private String logged() {
    try {
      return Files.readString(log());
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private static String lines(String what, int first, int count) {
    StringBuilder text = new StringBuilder();
    for (int i = first; i < first + count; i++) {
      text.append(what).append(' ').append(i).append('\n');
    }
    return text.toString();
  }

  private static long descriptors() {
    try (var all = Files.list(Path.of("/proc/self/fd"))) {
      return all.count();
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  // ---- tests ----

  @Test
  void whatTheGuestSaysIsLoggedAndWatchedAndWhatIsTypedReachesIt() throws IOException {
    long before = descriptors();
    try (Console console = console(linux);
        Fd qemu = console.open(1)) {
      say(qemu, "early\n");
      console.attached(1);
      Await.until("the log", () -> logged().equals("early\n"));
      try (Console.Attachment one = console.watchTail(100).orElseThrow();
          Console.Attachment two = console.watchFrom(2).orElseThrow()) {
        say(qemu, "later\n");
        assertThat(hear(one.output(), 12)).isEqualTo("early\nlater\n");
        assertThat(hear(two.output(), 10)).isEqualTo("rly\nlater\n");
        say(one.input(), "a");
        say(two.input(), "b");
        assertThat(hear(qemu, 2)).isEqualTo("ab");
        console.drop(1);
        assertThat(linux.read(one.output(), MemorySegment.ofArray(new byte[1])))
            .as("the VM's end ends it")
            .isZero();
      }
      assertThat(console.watchTail(1)).isEmpty();
      assertThat(store.size()).isZero();
      assertThat(directory).isEmptyDirectory();
    }
    assertThat(descriptors()).isEqualTo(before);
  }

  @Test
  @Promise("budgets")
  void aFloodOfWatchersIsRefusedAndAnotherVmsConsoleGoesOn() throws IOException {
    Path otherLog = directory.resolve("other.log");
    try (Console flooded = console(linux);
        Fd qemu = flooded.open(1);
        Console other = new Console(linux, store, VmId.named("other"), "console", otherLog, LIMIT);
        Fd otherQemu = other.open(1)) {
      flooded.attached(1);
      other.attached(1);
      long before = descriptors();
      List<Console.Attachment> watching = new ArrayList<>();
      for (int i = 0; i < Viewers.MOST; i++) {
        watching.add(flooded.watchTail(0).orElseThrow());
      }
      long full = descriptors();
      for (int i = 0; i < 10; i++) {
        assertThatThrownBy(() -> flooded.watchFrom(0))
            .isInstanceOf(IOException.class)
            .hasMessageContaining("32 watch the console already")
            .hasMessageContaining(log().toString());
      }
      assertThat(descriptors()).isEqualTo(full);
      try (Console.Attachment one = other.watchTail(0).orElseThrow()) {
        say(otherQemu, "as ever\n");
        assertThat(hear(one.output(), 8)).isEqualTo("as ever\n");
      }
      say(qemu, "to all\n");
      assertThat(hear(watching.getLast().output(), 7)).isEqualTo("to all\n");
      watching.removeFirst().close();
      Await.until(
          "the place of one that has gone",
          () -> {
            try {
              watching.add(flooded.watchTail(0).orElseThrow());
              return true;
            } catch (IOException e) {
              return false;
            }
          });
      watching.forEach(Console.Attachment::close);
      Await.until("all to be gone", () -> descriptors() == before);
      flooded.drop(1);
      other.drop(1);
    }
  }

  @Test
  void singleCharactersWaitForAnAgentByTheTenThousand() throws IOException {
    assumeTrue(
        linux.effectiveUser() == 0, "only root may have socket buffers beyond net.core.wmem_max");
    StringBuilder said = new StringBuilder();
    try (Console console = console(linux);
        Fd qemu = console.open(1)) {
      linux.nonblocking(qemu);
      for (int i = 0; i < 20_000; i++) {
        String character = Character.toString('a' + i % 26);
        say(qemu, character);
        said.append(character);
      }
      console.attached(1);
      Await.until("the log", () -> logged().contentEquals(said));
      console.drop(1);
    }
  }

  @Test
  @Promise("consoles")
  void logBeginsAnewAtItsLimitAndNothingIsLostBetween() throws IOException {
    String all = lines("line", 0, 40_000);
    try (Console console = console(linux);
        Fd qemu = console.open(1)) {
      console.attached(1);
      try (Console.Attachment viewer = console.watchTail(0).orElseThrow()) {
        StringBuilder seen = new StringBuilder();
        for (int at = 0; at < all.length(); at += 30_000) {
          String piece = all.substring(at, Math.min(all.length(), at + 30_000));
          say(qemu, piece);
          seen.append(hear(viewer.output(), piece.length()));
        }
        assertThat(seen.toString()).as("whoever keeps up sees all").isEqualTo(all);
      }
      Path old = directory.resolve("console.log.1");
      assertThat(Files.size(old)).isEqualTo(LIMIT);
      assertThat(Files.size(log())).isLessThanOrEqualTo(LIMIT);
      assertThat(all).endsWith(Files.readString(old) + logged());
      assertThat(directory.resolve("console.log.new")).doesNotExist();
      try (Console.Attachment tail = console.watchTail(100).orElseThrow()) {
        String last = all.substring((int) tail.from());
        assertThat(last).hasSizeLessThanOrEqualTo(100).startsWith("line ");
        assertThat(hear(tail.output(), last.length())).isEqualTo(last);
      }
      console.drop(1);
      assertThat(directory).isEmptyDirectory();
    }
  }

  @Test
  @Promise("consoles")
  void whoFallsTooFarBehindIsSentAwayAndToldWhereTheLogBegins() throws IOException {
    String all = lines("line", 0, 60_000);
    try (Console console = console(linux);
        Fd qemu = console.open(1)) {
      console.attached(1);
      try (Console.Attachment slow = console.watchTail(0).orElseThrow()) {
        say(qemu, all);
        Await.until("the log's end", () -> all.endsWith(logged()) && logged().endsWith("59999\n"));
        StringBuilder seen = new StringBuilder();
        byte[] buffer = new byte[1 << 16];
        for (int n = 1; n > 0; ) {
          n = linux.read(slow.output(), MemorySegment.ofArray(buffer));
          seen.append(new String(buffer, 0, n, StandardCharsets.UTF_8));
        }
        assertThat(all).startsWith(seen);
        try (Console.Attachment again = console.watchFrom(seen.length()).orElseThrow()) {
          assertThat(again.from()).isGreaterThan(seen.length());
          String rest = all.substring((int) again.from());
          assertThat(hear(again.output(), rest.length())).isEqualTo(rest);
        }
      }
      console.drop(1);
    }
  }

  @Test
  @Promise("consoles")
  void fullFileSystemDoesNotStopTheGuest() throws IOException {
    boolean[] full = {true};
    Kernel kernel =
        (call, a, b, c, d, e, f) ->
            // The fourth argument is the file's offset.
            call == Call.SPLICE && d != 0 && full[0]
                ? -Errno.ENOSPC.number()
                : Kernel.system().call(call, a, b, c, d, e, f);
    try (Console console = console(new Linux(kernel));
        Fd qemu = console.open(1)) {
      console.attached(1);
      for (int i = 0; i < 100; i++) {
        say(qemu, lines("lost", i, 5000));
      }
      Await.until(
          "all of it to be taken",
          () ->
              linux
                  .poll(Map.of(qemu, Set.of(Readiness.WRITABLE)), Duration.ZERO)
                  .containsKey(qemu));
      full[0] = false;
      Await.until(
          "the log to go on",
          () -> {
            say(qemu, "there is room\n");
            return logged().contains("there is room\n");
          });
      console.drop(1);
    }
  }

  @Test
  void orderIsKeptThroughAnUpdateAndARollback() throws IOException {
    try (Console console = console(linux);
        Fd one = console.open(1)) {
      console.attached(1);
      try (Console.Attachment viewer = console.watchTail(0).orElseThrow()) {
        // Typed, and not read by the guest before it is stopped.
        say(viewer.input(), "first ");
        Await.until("input to be there", () -> !linux.poll(List.of(one), Duration.ZERO).isEmpty());
        try (Fd two = console.open(2)) {
          console.frozen(1);
          say(viewer.input(), "second ");
          assertThat(hear(one)).as("what the stopped QEMU could take").isEmpty();
          assertThat(two.isOpen()).isTrue();
        }
        console.drop(2);
        assertThat(hear(one, 13)).isEqualTo("first second ");

        say(viewer.input(), "third ");
        Await.until("input to be there", () -> !linux.poll(List.of(one), Duration.ZERO).isEmpty());
        try (Fd two = console.open(2)) {
          console.frozen(1);
          say(viewer.input(), "fourth");
          say(one, "last words, ");
          // It died before the guest ran in it; another one is started.
          console.open(2).close();
          assertThat(hear(two)).isEmpty();
          say(two, "first words");
          console.running(2);
          console.drop(1);
          console.drop(1);
          assertThat(hear(two, 12)).isEqualTo("third fourth");
          assertThat(hear(one)).isEmpty();
          assertThat(hear(viewer.output(), 23)).isEqualTo("last words, first words");
        }
      }
      console.drop(2);
    }
  }

  // ---- an agent that dies ----

  private static final class Dead extends Error {
    private static final long serialVersionUID = 1;
  }

  /** A kernel that makes so many calls for its process, and then kills it. */
  private static final class Mortal implements Kernel {
    private final AtomicInteger left;
    private final AtomicInteger under = new AtomicInteger();

    Mortal(int calls) {
      this.left = new AtomicInteger(calls);
    }

    boolean dead() {
      return left.get() <= 0;
    }

    @Override
    public long call(Call call, long a, long b, long c, long d, long e, long f) {
      boolean waits = call == Call.PPOLL;
      under.addAndGet(waits ? 0 : 1);
      try {
        if (left.getAndDecrement() <= 0) {
          left.set(0);
          throw new Dead();
        }
        return Kernel.system().call(call, a, b, c, d, e, f);
      } finally {
        under.addAndGet(waits ? 0 : -1);
      }
    }

    /** A process is not gone before the calls of its threads have ended. */
    void awaitEnd() {
      Await.until("the end of the dead agent's calls", () -> under.get() == 0);
    }
  }

  private interface Step {
    void run(Console console) throws IOException;
  }

  /** An agent that dies once, after so many calls, and is replaced. */
  private final class Agents {
    private Mortal kernel;
    private Console console;
    private int recorded = 1;
    private int deaths;

    Agents(int calls) {
      this.kernel = new Mortal(calls);
      this.console = console(new Linux(kernel));
    }

    /** Does one step, again by the next agent if this one dies. */
    void step(Step step) throws IOException {
      while (true) {
        try {
          step.run(console);
          return;
        } catch (Dead e) {
          next();
        }
      }
    }

    /** As a step, but another agent cancels the update if this one dies. */
    boolean stepOrCancel(Step step) throws IOException {
      try {
        if (!kernel.dead()) {
          step.run(console);
          return true;
        }
      } catch (Dead e) {
        // as below
      }
      next();
      console.drop(recorded + 1);
      return false;
    }

    void next() throws IOException {
      deaths++;
      kernel.awaitEnd();
      kernel = new Mortal(Integer.MAX_VALUE);
      console = console(new Linux(kernel));
      console.attached(recorded);
    }

    /** If its thread died and nobody has noticed. */
    void alive() throws IOException {
      if (kernel.dead()) {
        next();
      }
    }
  }

  @BeforeEach
  void silence() {
    Thread.setDefaultUncaughtExceptionHandler(
        (thread, e) -> {
          if (!(e instanceof Dead)) {
            e.printStackTrace();
          }
        });
  }

  /**
   * The agent dies at each of its calls in turn, through a VM's start, an update and what comes
   * after it: what was said and typed is there, once.
   */
  @Test
  @Promise("consoles")
  void deathOfTheAgentAtAnyCallLosesNothingAndDoublesNothing() throws IOException {
    int died = 0;
    int calls = 0;
    for (; calls < 400; calls++) {
      Agents agents = new Agents(calls);
      Fd[] one = {null};
      agents.step(
          console -> {
            one[0] = console.open(1);
            console.attached(1);
          });
      Fd first = one[0];
      StringBuilder heard = new StringBuilder();
      say(first, lines("one", 0, 50));
      Console.Attachment[] watching = {null};
      agents.step(console -> watching[0] = console.watchTail(0).orElseThrow());
      Fd input = Fd.own(linux.kernel(), watching[0].input().release(), "input");
      say(input, "a");
      agents.alive();
      Await.until(
          "input " + calls, () -> heard.append(hear(first)).length() > 0 || revived(agents));
      say(input, "b");
      say(first, lines("one", 50, 50));
      Fd[] two = {null};
      while (true) {
        boolean done =
            agents.stepOrCancel(
                console -> {
                  two[0] = console.open(2);
                  console.frozen(1);
                });
        say(input, "c");
        if (done) {
          break;
        }
      }
      // What the stopped QEMU took before it was stopped.
      String taken = hear(first);
      heard.append(taken);
      assertThat(heard.toString()).as("agent died after %d calls", calls).matches("ab?c*");
      say(first, "last\n");
      agents.step(console -> console.running(2));
      say(two[0], lines("two", 0, 50));
      agents.step(console -> console.drop(1));
      agents.recorded = 2;
      say(input, "d");
      agents.alive();
      Fd second = Fd.own(linux.kernel(), two[0].release(), "second");
      Await.until(
          "input " + calls,
          () -> heard.append(hear(second)).toString().endsWith("d") || revived(agents));
      assertThat(heard.toString()).as("agent died after %d calls", calls).matches("abcc?d");
      String said = lines("one", 0, 100) + "last\n" + lines("two", 0, 50);
      Await.until(
          "the log after %d calls: %s".formatted(calls, logged()),
          () -> logged().length() >= said.length() || revived(agents));
      assertThat(logged()).as("agent died after %d calls", calls).isEqualTo(said);
      agents.step(console -> console.drop(2));
      second.close();
      input.close();
      if (!agents.kernel.dead() && agents.deaths == 0) {
        break; // it lived through all of it
      }
      died += agents.deaths;
      agents.console.close();
      store.close();
      try (var left = Files.list(directory)) {
        for (Path each : left.toList()) {
          Files.delete(each);
        }
      }
    }
    assertThat(calls).as("calls in the whole").isBetween(60, 399);
    assertThat(died).isGreaterThan(60);
  }

  private static boolean revived(Agents agents) {
    try {
      agents.alive();
    } catch (IOException e) {
      throw new AssertionError(e);
    }
    return false;
  }

  /** The same while a log begins anew, again and again. */
  @Test
  @Promise("consoles")
  void deathOfTheAgentWhileTheLogBeginsAnew() throws IOException {
    String all = lines("line", 0, 15_000);
    for (int calls = 0; calls < 160; calls += 3) {
      Agents agents = new Agents(calls);
      Fd[] qemu = {null};
      agents.step(
          console -> {
            qemu[0] = console.open(1);
            console.attached(1);
          });
      Fd first = Fd.own(linux.kernel(), qemu[0].release(), "first");
      linux.nonblocking(first);
      for (int at = 0; at < all.length(); at += 20_000) {
        say(first, all.substring(at, Math.min(all.length(), at + 20_000)));
        agents.alive();
      }
      Await.until("the log " + calls, () -> logged().endsWith("14999\n") || revived(agents));
      String old = Files.readString(directory.resolve("console.log.1"));
      assertThat(all).as("agent died after %d calls", calls).endsWith(old + logged());
      assertThat(old).hasSize((int) LIMIT);
      agents.step(console -> console.drop(1));
      agents.console.close();
      store.close();
      first.close();
      assertThat(Arrays.asList(directory.toFile().list())).as("after %d", calls).isEmpty();
    }
  }
}
