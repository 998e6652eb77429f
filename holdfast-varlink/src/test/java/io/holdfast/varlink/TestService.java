package io.holdfast.varlink;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;

/** A service that does with calls and descriptors what the tests look at. */
final class TestService {
  static final String DEFINITION =
      """
      # For tests.
      interface org.example.test

      method Echo(text: string) -> (text: string)
      method Count(to: int) -> (n: int)
      # The files behind the descriptors of these indices.
      method Files(descriptors: []int) -> (files: []string)
      # The file behind one descriptor, which the handler takes.
      method Take(descriptor: int, again: ?int) -> (file: string)
      method Give(count: int) -> (descriptors: []int, files: []string)
      method Fail(how: string) -> ()
      method Nothing() -> ()
      method Endless() -> (n: int)
      method Wait() -> ()
      method Who() -> (pid: int, uid: int)

      error Refused (message: string)
      """;

  static final Linux LINUX = Linux.system();

  final CountDownLatch clientSeenGone = new CountDownLatch(1);
  final CountDownLatch waiting = new CountDownLatch(1);
  final AtomicInteger waits = new AtomicInteger();
  final CountDownLatch waitEnded = new CountDownLatch(1);

  VarlinkServer.Builder builder() {
    return VarlinkServer.builder("Example", "tests", "1.0", "https://example.org")
        .implement(VarlinkInterface.parse(DEFINITION))
        .on(
            "org.example.test.Echo",
            c -> c.reply(JsonObject.of("text", c.parameters().string("text"))))
        .on("org.example.test.Count", TestService::count)
        .on("org.example.test.Files", TestService::files)
        .on("org.example.test.Take", TestService::take)
        .on("org.example.test.Give", TestService::give)
        .on("org.example.test.Fail", TestService::fail)
        .on("org.example.test.Nothing", call -> {})
        .on("org.example.test.Endless", this::endless)
        .on("org.example.test.Wait", this::await)
        .on(
            "org.example.test.Who",
            c -> c.reply(JsonObject.of("pid", c.peer().pid(), "uid", c.peer().uid())));
  }

  private static void count(Call call) {
    long to = call.parameters().number("to");
    for (long n = 1; n < to; n++) {
      boolean _ = call.progress(JsonObject.of("n", n));
    }
    call.reply(JsonObject.of("n", to));
  }

  private static void files(Call call) {
    List<String> files = new ArrayList<>();
    for (long index : call.parameters().array("descriptors").numbers()) {
      files.add(file(call.descriptors().borrow((int) index)));
    }
    call.reply(JsonObject.of("files", files));
  }

  private static void take(Call call) {
    try (Fd fd = call.takeDescriptor("descriptor")) {
      if (call.parameters().has("again")) {
        call.takeDescriptor("again").close();
      }
      call.reply(JsonObject.of("file", file(fd)));
    }
  }

  private static void give(Call call) {
    List<Fd> fds = new ArrayList<>();
    try {
      List<Integer> indices = new ArrayList<>();
      List<String> files = new ArrayList<>();
      for (int i = 0; i < call.parameters().number("count"); i++) {
        fds.add(LINUX.memfd("given", i));
        indices.add(i);
        files.add(file(fds.get(i)));
      }
      call.reply(JsonObject.of("descriptors", indices, "files", files), fds);
    } finally {
      fds.forEach(Fd::close);
    }
  }

  private static void fail(Call call) {
    switch (call.parameters().string("how")) {
      case "typed" ->
          throw new VarlinkError("org.example.test.Refused", JsonObject.of("message", "not today"));
      case "reply twice" -> {
        call.reply(JsonObject.empty());
        call.reply(JsonObject.empty());
      }
      case "bad reply" -> call.reply(JsonObject.of("unknown", 1));
      default -> throw new IllegalStateException("the handler's own trouble");
    }
  }

  private void endless(Call call) {
    for (int n = 0; call.progress(JsonObject.of("n", n)); n++) {
      Thread.onSpinWait();
    }
    if (call.clientGone()) {
      clientSeenGone.countDown();
    }
  }

  private void await(Call call) {
    waits.incrementAndGet();
    waiting.countDown();
    try {
      Thread.sleep(Duration.ofMinutes(5));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      waitEnded.countDown();
    }
  }

  static String file(Fd fd) {
    return LINUX.identity(fd).toString();
  }

  /** How many descriptors this process has open. */
  static int openDescriptors() {
    try (var entries = Files.list(Path.of("/proc/self/fd"))) {
      return (int) entries.count();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Waits up to 10 seconds for something that another thread brings about. */
  static boolean eventually(BooleanSupplier condition) throws InterruptedException {
    for (int i = 0; i < 1000; i++) {
      if (condition.getAsBoolean()) {
        return true;
      }
      TimeUnit.MILLISECONDS.sleep(10);
    }
    return false;
  }
}
