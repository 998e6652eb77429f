package io.holdfast.cli;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.agent.Agent;
import io.holdfast.agent.AgentPaths;
import io.holdfast.fdt.FdtBlob;
import io.holdfast.fdt.FdtNode;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SystemCallException;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * {@code holdfast debugfs} as a process of its own, on a real agent, read by the programs that
 * people use. How long it is read while boxes change: {@code -Dholdfast.debugfs.seconds}.
 */
@Timeout(600)
class DebugfsTest {
  private static final int SECONDS = Integer.getInteger("holdfast.debugfs.seconds", 10);

  /** Longer than several pages, and than what the kernel reads at once. */
  private static final int LARGEST = 400_000;

  @TempDir private Path directory;

  private final Linux linux = Linux.system();
  private Path socket;
  private Path mounted;
  private Optional<Agent> agent = Optional.empty();
  private Optional<Process> command = Optional.empty();

  @BeforeEach
  void start() throws IOException {
    socket = directory.resolve("agent.sock");
    mounted = Files.createDirectory(directory.resolve("debug view"));
  }

  private void needFuse() throws IOException {
    try {
      linux.open(Path.of("/dev/fuse"), OpenFlag.READ, OpenFlag.WRITE).close();
    } catch (SystemCallException e) {
      assumeTrue(false, "/dev/fuse can't be opened: " + e.getMessage());
    }
    assumeTrue(
        Stream.of(3, 4)
            .anyMatch(n -> Files.exists(Path.of("/usr/lib/x86_64-linux-gnu/libfuse3.so." + n))),
        "libfuse3 is not installed");
    assumeTrue(linux.effectiveUser() == 0 || found("fusermount3"), "fusermount3 is not installed");
  }

  private static boolean found(String program) {
    return Stream.of(System.getenv("PATH").split(":", -1))
        .anyMatch(folder -> Files.isExecutable(Path.of(folder, program)));
  }

  private void startAgent() throws IOException {
    agent = Optional.of(new Agent(linux, new AgentPaths(directory.resolve("run"), socket)));
  }

  private void stopAgent() {
    agent.ifPresent(Agent::close);
    agent = Optional.empty();
  }

  private Process mount() throws IOException {
    Path out = directory.resolve("out");
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Xmx64m",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                Holdfast.class.getName(),
                "debugfs",
                mounted.toString(),
                "--socket",
                socket.toString())
            .redirectErrorStream(true)
            .redirectOutput(out.toFile())
            .start();
    command = Optional.of(process);
    while (process.isAlive() && !Files.readString(out).contains("The agent's state is in")) {
      sleep(50);
    }
    assertThat(process.isAlive()).as(Files.readString(out)).isTrue();
    return process;
  }

  private static void sleep(long millis) {
    try {
      TimeUnit.MILLISECONDS.sleep(millis);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @AfterEach
  void end() throws Exception {
    if (command.isPresent() && command.get().isAlive()) {
      command.get().destroy();
      if (!command.get().waitFor(30, TimeUnit.SECONDS)) {
        command.get().destroyForcibly().waitFor();
      }
    }
    if (agent.isPresent()) {
      removeAll();
    }
    stopAgent();
  }

  /** An agent that holds nothing ends its keeper. */
  private void removeAll() {
    try (VarlinkClient client = client()) {
      for (JsonObject box :
          client.call("io.holdfast.Box.List", JsonObject.empty()).array("boxes").objects()) {
        for (JsonObject entry : box.array("entries").objects()) {
          remove(client, box.string("name"), entry.string("label"));
        }
      }
    }
  }

  private VarlinkClient client() {
    return VarlinkClient.connect(linux, socket);
  }

  /** Bytes that say themselves how many they are, and whether they are whole. */
  private static byte[] whole(Random random) {
    byte[] bytes = new byte[12 + random.nextInt(random.nextBoolean() ? 100 : LARGEST)];
    random.nextBytes(bytes);
    CRC32C sum = new CRC32C();
    sum.update(bytes, 12, bytes.length - 12);
    ByteBuffer.wrap(bytes).putInt(0xb0c5).putInt(bytes.length).putInt((int) sum.getValue());
    return bytes;
  }

  private static void checkWhole(String what, byte[] bytes) {
    assertThat(bytes).as(what).hasSizeGreaterThanOrEqualTo(12);
    ByteBuffer head = ByteBuffer.wrap(bytes);
    assertThat(head.getInt()).as(what).isEqualTo(0xb0c5);
    assertThat(head.getInt()).as("size of " + what).isEqualTo(bytes.length);
    CRC32C sum = new CRC32C();
    sum.update(bytes, 12, bytes.length - 12);
    assertThat(head.getInt()).as("bytes of " + what).isEqualTo((int) sum.getValue());
  }

  private void put(VarlinkClient client, String box, String label, byte[] bytes) {
    try (Fd memfd = linux.memfd(label, 0)) {
      linux.write(memfd, MemorySegment.ofArray(bytes));
      client
          .call(
              "io.holdfast.Box.Put",
              JsonObject.of("box", box, "label", label, "descriptor", 0),
              List.of(memfd))
          .close();
    }
  }

  private static void remove(VarlinkClient client, String box, String label) {
    JsonObject unusedReply =
        client.call("io.holdfast.Box.Remove", JsonObject.of("box", box, "label", label));
  }

  /**
   * What a program said, and how it ended.
   *
   * @param latin1 its standard output, a byte for each character
   */
  private record Ran(int exit, String latin1, String err) {
    byte[] out() {
      return latin1.getBytes(ISO_8859_1);
    }
  }

  private Ran run(String... words) throws IOException, InterruptedException {
    Path err = Files.createTempFile(directory, "err", "");
    Process process =
        new ProcessBuilder(words).directory(mounted.toFile()).redirectError(err.toFile()).start();
    byte[] out = process.getInputStream().readAllBytes();
    int exit = process.waitFor();
    String said = Files.readString(err);
    Files.delete(err);
    return new Ran(exit, new String(out, ISO_8859_1), said);
  }

  /** A file that was read is one moment's, whole. */
  private static void check(String path, byte[] bytes) {
    if (path.startsWith("boxes/")) {
      checkWhole(path, bytes);
      return;
    }
    String text = new String(bytes, UTF_8);
    switch (path) {
      case "state" -> assertThat(text).startsWith("state:    NORMAL\n").endsWith("vms:      0\n");
      case "timeline" -> assertThat(text).isEmpty();
      case "manifest" -> {
        FdtNode root = FdtBlob.of(MemorySegment.ofArray(bytes)).tree().root();
        assertThat(ByteBuffer.wrap(bytes).getInt(4)).as("its size").isEqualTo(bytes.length);
        assertThat(root.property("update").orElseThrow().string()).isEqualTo("none");
        for (FdtNode box : root.child("boxes").orElseThrow().children()) {
          assertThat(box.property("session").orElseThrow().string())
              .isEqualTo("holdfast/" + box.property("box").orElseThrow().string());
        }
      }
      case "preserved" -> {
        List<String> lines = text.lines().filter(line -> !line.startsWith("#")).toList();
        long pages =
            lines.stream().skip(1).mapToLong(line -> Long.parseLong(line.split(" +", -1)[6])).sum();
        assertThat(text)
            .endsWith(
                "# %d entries, %d pages, %d of them present\n"
                    .formatted(lines.size() - 1, pages, pages));
      }
      default -> throw new AssertionError("what is " + path);
    }
  }

  /** Only what was removed meanwhile may be missed. */
  private static void checkMissed(Ran ran, String... words) {
    for (String line : ran.err().lines().toList()) {
      if (ran.exit() == 0 || line.startsWith("tar: Exiting with failure status due to previous")) {
        continue;
      }
      assertThat(line).matches(each -> Stream.of(words).anyMatch(each::contains), "is no miss");
    }
    if (ran.err().isEmpty()) {
      assertThat(ran.exit()).isZero();
    }
  }

  private final AtomicLong read = new AtomicLong();
  private final AtomicLong changes = new AtomicLong();

  private void change(VarlinkClient client, Random random) {
    String box = "box" + random.nextInt(4);
    String label = "entry" + random.nextInt(5);
    if (random.nextInt(4) > 0) {
      put(client, box, label, whole(random));
    } else {
      try {
        remove(client, box, label);
      } catch (VarlinkException e) {
        assertThat(e.error()).isEqualTo("io.holdfast.Box.NoSuchEntry");
      }
    }
    changes.incrementAndGet();
  }

  private List<String> find() throws IOException, InterruptedException {
    Ran found = run("find", ".", "-type", "f", "-printf", "%P\\n");
    checkMissed(found, "No such file");
    return new String(found.out(), UTF_8).lines().toList();
  }

  private void cat() throws IOException, InterruptedException {
    for (String file : find()) {
      Ran ran = run("cat", file);
      checkMissed(ran, "No such file");
      if (ran.exit() == 0) {
        check(file, ran.out());
        read.incrementAndGet();
      }
    }
  }

  private void dtc() throws IOException, InterruptedException {
    Ran ran = run("dtc", "-q", "-I", "dtb", "-O", "dts", "manifest");
    assertThat(ran.exit()).as(ran.err()).isZero();
    assertThat(new String(ran.out(), UTF_8)).contains("compatible = \"holdfast-v2\";");
    read.incrementAndGet();
  }

  private void tar() throws IOException, InterruptedException {
    Ran ran = run("tar", "-cf", "-", ".");
    checkMissed(ran, "File removed before we read it", "No such file");
    byte[] archive = ran.out();
    int at = 0;
    int files = 0;
    while (at + 512 <= archive.length && archive[at] != 0) {
      String header = new String(archive, at, 512, ISO_8859_1);
      String name = header.substring(0, header.indexOf(0)).replaceFirst("^\\./", "");
      int size = Integer.parseInt(header.substring(124, 135).strip(), 8);
      if (header.charAt(156) == '0') {
        check(name, Arrays.copyOfRange(archive, at + 512, at + 512 + size));
        read.incrementAndGet();
        files++;
      }
      at += 512 + (size + 511) / 512 * 512;
    }
    assertThat(files).isGreaterThanOrEqualTo(4);
  }

  @Test
  @Promise("debug-view")
  void isConsistentWhileBoxesChangeAndLeavesNothing() throws Exception {
    needFuse();
    startAgent();
    Process process = mount();
    long end = System.nanoTime() + Duration.ofSeconds(SECONDS).toNanos();
    List<Callable<Void>> works = new ArrayList<>();
    works.add(
        () -> {
          Random random = new Random(6);
          try (VarlinkClient client = client()) {
            while (System.nanoTime() - end < 0) {
              change(client, random);
              sleep(5);
            }
          }
          return null;
        });
    List<Reading> readings = new ArrayList<>(List.of(this::cat, this::cat, this::tar));
    if (found("dtc")) {
      readings.add(this::dtc);
    }
    for (Reading reading : readings) {
      works.add(
          () -> {
            do {
              reading.once();
            } while (System.nanoTime() - end < 0);
            return null;
          });
    }
    try (ExecutorService threads = Executors.newFixedThreadPool(works.size())) {
      for (Future<Void> each : threads.invokeAll(works)) {
        each.get();
      }
    }
    System.out.println(
        "debugfs: "
            + read
            + " files read while boxes changed "
            + changes
            + " times in "
            + SECONDS
            + " s");
    assertThat(read.get()).isGreaterThan(10);
    assertThat(changes.get()).isGreaterThan(10);
    process.destroy();
    assertThat(process.waitFor(30, TimeUnit.SECONDS)).as("it ends when it is told to").isTrue();
    assertThat(process.exitValue()).isZero();
    try (Stream<Path> files = Files.list(mounted)) {
      assertThat(files).as("nothing is mounted").isEmpty();
    }
    assertThat(process.descendants()).isEmpty();
  }

  private interface Reading {
    void once() throws IOException, InterruptedException;
  }

  @Test
  void showsWhatIsPutInAtOnceAndOutlivesTheAgent() throws Exception {
    needFuse();
    startAgent();
    Process process = mount();
    Path file = mounted.resolve("boxes/cache/index");
    try (VarlinkClient client = client()) {
      assertThat(file).doesNotExist();
      byte[] bytes = whole(new Random(1));
      put(client, "cache", "index", bytes);
      assertThat(Files.size(file)).isEqualTo(bytes.length);
      assertThat(Files.readAllBytes(file)).isEqualTo(bytes);
      byte[] others = whole(new Random(2));
      put(client, "cache", "index", others);
      assertThat(Files.readAllBytes(file)).isEqualTo(others);
    }
    assertThat(Files.readString(mounted.resolve("preserved")))
        .containsPattern("holdfast/@box/cache +1  @box/cache  index  memfd ");
    assertThat(mounted.resolve("nothing")).doesNotExist();
    assertThat(mounted.resolve("state/nothing")).doesNotExist();
    assertThat(run("touch", "new").err()).contains("Read-only file system");

    stopAgent();
    Ran ran = run("cat", "state");
    assertThat(ran.exit()).isEqualTo(1);
    assertThat(ran.err()).contains("Input/output error");
    assertThat(run("ls", "-d", "boxes").exit()).as("what is always there").isZero();
    startAgent();
    assertThat(Files.readString(mounted.resolve("state"))).startsWith("state:    NORMAL\n");
    assertThat(file).exists();

    linux.mounts().unmount(mounted);
    assertThat(process.waitFor(30, TimeUnit.SECONDS)).as("unmounted from outside").isTrue();
    assertThat(process.exitValue()).isZero();
  }

  /** The same boxes by the commands. */
  @Test
  void boxesAreFilledAndReadByCommands() throws Exception {
    startAgent();
    Files.writeString(directory.resolve("index.bin"), "one\n");
    assertThat(runs("box", "put", "cache", "index", "index.bin")).isEqualTo(Exit.OK);
    assertThat(runs("box", "put", "cache", "index", "nothing.bin")).isEqualTo(Exit.FAILED);
    assertThat(said.toString(UTF_8)).contains("nothing.bin can't be read");
    assertThat(runs("box", "get", "cache", "index", "--to", "copy.bin")).isEqualTo(Exit.OK);
    assertThat(directory.resolve("copy.bin")).hasContent("one\n");
    assertThat(runs("box", "get", "cache", "index", "--to", "copy.bin")).isEqualTo(Exit.FAILED);
    assertThat(said.toString(UTF_8)).contains("copy.bin is there already");
    assertThat(runs("box", "list")).isEqualTo(Exit.OK);
    assertThat(printed.toString(UTF_8)).contains("cache  index  memfd      4\n");
    assertThat(runs("box", "remove", "cache", "index")).isEqualTo(Exit.OK);
    assertThat(runs("box", "get", "cache", "index")).isEqualTo(Exit.FAILED);
    assertThat(said.toString(UTF_8))
        .contains("box cache has no entry index; `holdfast box list` shows what there is");
    assertThat(runs("box", "put", "../x", "index", "index.bin")).isEqualTo(Exit.FAILED);
    assertThat(said.toString(UTF_8)).contains("not a valid box");
  }

  private Exit runs(String... arguments) {
    Shell shell =
        new Shell(
            new PrintStream(printed, false, UTF_8),
            new PrintStream(said, false, UTF_8),
            false,
            100,
            Map.of(),
            directory,
            ZoneOffset.UTC,
            () -> socket,
            _ -> {});
    said.reset();
    printed.reset();
    return new CommandLineInterface(shell, new Interrupts()).run(arguments);
  }

  private final ByteArrayOutputStream said = new ByteArrayOutputStream();
  private final ByteArrayOutputStream printed = new ByteArrayOutputStream();

  @Test
  void saysWhyItCanNotBeMounted() throws IOException {
    assertThat(runs("debugfs", "missing")).isEqualTo(Exit.FAILED);
    assertThat(said.toString(UTF_8)).contains("there is no such directory; make it: mkdir -p ");
    Path file = Files.createFile(directory.resolve("file"));
    assertThat(runs("debugfs", "file")).isEqualTo(Exit.FAILED);
    assertThat(said.toString(UTF_8)).contains("it is no directory");
    assertThat(runs("debugfs", ".")).isEqualTo(Exit.FAILED);
    assertThat(said.toString(UTF_8)).contains("it is not empty");
    assertThat(runs("debugfs", "/proc")).isEqualTo(Exit.FAILED);
    assertThat(said.toString(UTF_8)).contains("something is mounted there already");
    assertThat(file).exists();
  }

  @Test
  void needsAnAgent() throws IOException {
    needFuse();
    assertThat(runs("debugfs", mounted.toString())).isEqualTo(Exit.NO_AGENT);
    assertThat(said.toString(UTF_8)).contains("no agent listens on");
  }
}
