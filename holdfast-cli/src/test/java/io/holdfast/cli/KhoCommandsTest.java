package io.holdfast.cli;

import static io.holdfast.kho.memory.MemoryRange.PAGE;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.fdt.FdtSource;
import io.holdfast.kho.Handover;
import io.holdfast.kho.KexecMetadata;
import io.holdfast.kho.Memfd;
import io.holdfast.kho.PreservedBlock;
import io.holdfast.kho.PreservedMap;
import io.holdfast.kho.ReservedRegion;
import io.holdfast.kho.StartingPoint;
import io.holdfast.kho.build.Damage;
import io.holdfast.kho.build.Outgoing;
import io.holdfast.kho.build.OutgoingSessions;
import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code holdfast kho} on a core file with a handover that was built for it. */
final class KhoCommandsTest {
  private static final long BASE = 0x4000_0000L;
  private static final int BYTES = 8 << 20;
  private static final MemoryRange SCRATCH = new MemoryRange(BASE + (4 << 20), 2 << 20);

  @TempDir private Path directory;
  private final ByteArrayOutputStream outBytes = new ByteArrayOutputStream();
  private final ByteArrayOutputStream errBytes = new ByteArrayOutputStream();
  private final byte[] content = new byte[2 * PAGE];
  private final MemoryArena arena =
      new MemoryArena(BASE, MemorySegment.ofArray(new byte[BYTES]), List.of(SCRATCH));
  private StartingPoint start;

  @BeforeEach
  void write() throws IOException {
    new Random(1).nextBytes(content);
    PreservedMap map = new PreservedMap(List.of(SCRATCH));
    long folio = arena.take(1);
    map.preserve(new PreservedBlock(folio, 1));
    MemorySegment.copy(
        MemorySegment.ofArray(content), 0, arena.at(folio, content.length), 0, content.length);
    long region = arena.take(2);
    map.preserve(region, 4);
    Outgoing outgoing = new Outgoing(arena, map);
    outgoing.add(new KexecMetadata("7.3.4-holdfast", 5));
    outgoing.add(
        new OutgoingSessions(5)
            .add("web")
            .memfd("web", -1, 7, 2 * PAGE - 5, 6, List.of(new Memfd.Folio(folio, 0, 3)))
            .file("web", 2, "vfio-v1", 0)
            .add("db"));
    outgoing.add(List.of(new ReservedRegion("log", new MemoryRange(region, 4 * PAGE))));
    start = outgoing.finish();
    tellTheNextKernel();
    core();
  }

  /** What a kernel that has loaded the next one has in memory: setup_data, an image's list. */
  private void tellTheNextKernel() {
    long destination = SCRATCH.address() + 16 * PAGE;
    long page = arena.take(0);
    words(page + 64, 0, (32L << 32) | 10, start.stateTree(), PAGE, destination, 32);
    long table = arena.take(0);
    words(table, SCRATCH.address(), SCRATCH.size(), SCRATCH.end(), 0);
    words(page + 256, destination | 1, table | 8, 4);
  }

  private void words(long address, long... words) {
    for (int i = 0; i < words.length; i++) {
      arena.at(address + i * 8L, 8).set(ValueLayout.JAVA_LONG_UNALIGNED, 0, words[i]);
    }
  }

  private void core() throws IOException {
    ByteBuffer file = ByteBuffer.allocate(120 + BYTES).order(ByteOrder.LITTLE_ENDIAN);
    file.put(new byte[] {0x7f, 'E', 'L', 'F', 2, 1, 1}).position(16);
    file.putShort((short) 4).putShort((short) 62).putInt(1).putLong(0).putLong(64).putLong(0);
    file.putInt(0).putShort((short) 64).putShort((short) 56).putShort((short) 1).position(64);
    file.putInt(1).putInt(0).putLong(120).putLong(0).putLong(BASE).putLong(BYTES).putLong(BYTES);
    file.position(120).put(arena.at(BASE, BYTES).asByteBuffer());
    Files.write(directory.resolve("core"), file.array());
  }

  private Exit run(String... arguments) {
    outBytes.reset();
    errBytes.reset();
    Shell shell =
        new Shell(
            new PrintStream(outBytes, false, UTF_8),
            new PrintStream(errBytes, false, UTF_8),
            false,
            80,
            Map.of(),
            directory,
            ZoneOffset.UTC,
            () -> directory.resolve("no agent is needed"),
            _ -> {});
    return new CommandLineInterface(shell, new Interrupts()).run(arguments);
  }

  private String out() {
    return outBytes.toString(UTF_8);
  }

  private String err() {
    return errBytes.toString(UTF_8);
  }

  @Test
  @Promise("handovers")
  void showsWhatIsHandedOver() {
    assertThat(run("kho", "show", "--core", "core")).isEqualTo(Exit.OK);
    assertThat(out())
        .contains("kho-v4 at 0x" + Long.toHexString(start.stateTree()))
        .contains("found through setup_data (SETUP_KEXEC_KHO)")
        .contains("7.3.4-holdfast, kernel 5 in a row")
        .contains("luo-v5, number 5: 2 sessions, 2 files")
        .contains("log: 0x")
        .contains("0x40400000-0x40600000, 2 MiB");
    assertThat(run("--json", "kho", "show", "--core", "core")).isEqualTo(Exit.OK);
    JsonObject json = Json.parse(out());
    assertThat(json.string("version")).isEqualTo("kho-v4");
    assertThat(json.object("luo").number("sessions")).isEqualTo(2);
    assertThat(json.array("scratch").objects().getFirst().number("size")).isEqualTo(2 << 20);
  }

  @Test
  @Promise("handovers")
  void printsTheStateTreeAsSource() {
    assertThat(run("kho", "tree", "--core", "core")).isEqualTo(Exit.OK);
    Handover handover = Handover.read(arena, start);
    assertThat(out()).isEqualTo(FdtSource.print(handover.state().tree()));
    assertThat(FdtSource.parse(out())).isEqualTo(handover.state().tree());
  }

  @Test
  @Promise("handovers")
  void listsSessionsAndFiles() {
    assertThat(run("kho", "sessions", "--core", "core")).isEqualTo(Exit.OK);
    assertThat(out())
        .containsPattern(
            "web/18446744073709551615 +memfd-v2 +8.0 KiB +1 +position 7, seals shrink grow")
        .containsPattern("web/2 +vfio-v1 +Holdfast does not know what vfio-v1 writes")
        .containsPattern("db/ +no files");
    assertThat(run("--json", "kho", "sessions", "--core", "core")).isEqualTo(Exit.OK);
    JsonObject file =
        Json.parse(out())
            .array("sessions")
            .objects()
            .getFirst()
            .array("files")
            .objects()
            .getFirst();
    assertThat(file.string("token")).isEqualTo("18446744073709551615");
    assertThat(file.array("seals").strings()).containsExactly("shrink", "grow");
  }

  @Test
  @Promise("handovers")
  void showsMemoryByOrderAndOwnerAndDrawsIt() throws IOException {
    assertThat(run("kho", "memory", "--core", "core", "--html", "map.html", "--svg", "map.svg"))
        .isEqualTo(Exit.OK);
    assertThat(out())
        .containsPattern("(?m)^ +1 +1 +8 KiB$")
        .containsPattern("session web, file 18446744073709551615 +1 +8 KiB")
        .containsPattern("reserve_mem log +1 +16 KiB")
        .containsPattern("0x40000000 [#+]")
        .contains("ssss");
    assertThat(out().lines()).allMatch(each -> each.length() <= 80);
    String html = Files.readString(directory.resolve("map.html"));
    String svg = Files.readString(directory.resolve("map.svg"));
    assertThat(html).contains("<svg ", "session web").doesNotContain("src=", "href=");
    // The picture alone says what its colours and addresses are, too.
    assertThat(svg).startsWith("<svg ").endsWith("</svg>\n");
    assertThat(svg).contains(">session web</text>", ">scratch</text>", ">0x40000000</text>");
    assertThat(run("--json", "kho", "memory", "--core", "core")).isEqualTo(Exit.OK);
    JsonObject json = Json.parse(out());
    long owned =
        json.array("owners").objects().stream().mapToLong(each -> each.number("size")).sum();
    assertThat(owned + json.number("unknown")).isEqualTo(json.number("preserved"));
  }

  @Test
  @Promise("handovers")
  void writesWhatIsHandedOverToAFile() throws IOException {
    assertThat(run("kho", "dump", "web/18446744073709551615", "--core", "core", "--to", "memfd"))
        .isEqualTo(Exit.OK);
    assertThat(out()).isEqualTo("8187 bytes are in memfd\n");
    assertThat(Files.readAllBytes(directory.resolve("memfd")))
        .isEqualTo(java.util.Arrays.copyOf(content, 2 * PAGE - 5));
    assertThat(run("kho", "dump", "tree", "--core", "core", "--to", "tree")).isEqualTo(Exit.OK);
    assertThat(Files.readAllBytes(directory.resolve("tree")))
        .isEqualTo(Handover.read(arena, start).state().tree().toBlob());
    assertThat(run("kho", "dump", "kexec-metadata", "--core", "core", "--to", "metadata"))
        .isEqualTo(Exit.OK);
    assertThat(Files.size(directory.resolve("metadata"))).isEqualTo(73);
    assertThat(run("kho", "dump", "tree", "--core", "core", "--to", "tree")).isEqualTo(Exit.FAILED);
    assertThat(err()).contains("kho dump: tree is there already");
    assertThat(run("kho", "dump", "web/2", "--core", "core", "--to", "x")).isEqualTo(Exit.FAILED);
    assertThat(err()).contains("web/2 is no memfd that can be read");
    assertThat(run("kho", "dump", "web/7", "--core", "core", "--to", "x")).isEqualTo(Exit.FAILED);
    assertThat(err()).contains("there is no file web/7; kho sessions lists them");
    assertThat(run("kho", "dump", "LOU", "--core", "core", "--to", "x")).isEqualTo(Exit.FAILED);
    assertThat(err()).contains("there is no sub-tree LOU, only kexec-metadata, LUO, memblock");
    assertThat(directory.resolve("x")).doesNotExist();
  }

  @Test
  @Promise("handovers")
  void verifiesAndListsEachViolation() throws IOException {
    assertThat(run("kho", "verify", "--core", "core")).isEqualTo(Exit.OK);
    assertThat(out()).startsWith("Nothing is wrong: ").endsWith("pages, 2 sessions.\n");
    Handover handover = Handover.read(arena, start);
    assertThat(Damage.FILES_COUNT.inflict(handover)).isTrue();
    assertThat(Damage.METADATA_RELEASE.inflict(handover)).isTrue();
    core();
    assertThat(run("kho", "verify", "--core", "core")).isEqualTo(Exit.FAILED);
    assertThat(out()).isEqualTo("2 violations:\n");
    assertThat(err().lines())
        .hasSize(2)
        .anyMatch(
            each ->
                each.matches(
                    "COUNT at 0x[0-9a-f]+: session web: it says 3 files, and its list has 2; expected: .*"));
    assertThat(run("--json", "kho", "verify", "--core", "core")).isEqualTo(Exit.FAILED);
    assertThat(Json.parse(out()).number("count")).isEqualTo(2);
    assertThat(err()).isEmpty();
    assertThat(run("kho", "show", "--core", "core")).isEqualTo(Exit.FAILED);
    assertThat(err()).startsWith("holdfast: kho show: NAME at 0x").contains("holdfast kho verify");
  }

  @Test
  @Promise("handovers")
  void aTreeThatIsNamedIsTaken() {
    String root = "0x" + Long.toHexString(start.stateTree());
    assertThat(run("kho", "verify", "--core", "core", "--root", root)).isEqualTo(Exit.OK);
    assertThat(run("kho", "show", "--core", "core", "--root", "0x40000008")).isEqualTo(Exit.FAILED);
    assertThat(err()).contains("UNALIGNED at 0x40000008: the state tree");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "show --core absent|kho show: there is no file",
        "tree --core .|is a folder, not a core file",
        "verify --core text|does not begin with ELF's magic number",
        "memory --core empty|empty has no state of Kexec HandOver in it",
        "sessions|no running kernel has a list of its outgoing sessions",
      })
  @Promise("handovers")
  void saysWhatIsMissing(String line, String message) throws IOException {
    Files.writeString(directory.resolve("text"), "this is no core file, it is a text");
    arena.at(BASE, BYTES).fill((byte) 0);
    core();
    Files.move(directory.resolve("core"), directory.resolve("empty"));
    assertThat(run(("kho " + line).split(" ", -1))).isEqualTo(Exit.FAILED);
    assertThat(err()).contains(message);
    assertThat(out()).isEmpty();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "kho|kho: a command is missing, one of show, tree, memory, sessions, dump, verify",
        "kho shwo|Did you mean show?",
        "kho show --core|Missing required parameter for option '--core'",
        "kho dump tree|Missing required option: '--to=FILE'",
        "kho show --root here|'here' is no address: write a number, such as 0x1f4b000",
      })
  @Promise("handovers")
  void explainsMistakes(String line, String message) {
    assertThat(run(line.split(" ", -1))).isEqualTo(Exit.USAGE);
    assertThat(err()).contains(message);
  }
}
