package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The guest is forged: its console's lines, and a disk of a few sectors. */
class WitnessTest {
  private static final long BOOT = 0xfeedface12345679L;
  private static final int SLOTS = 16;

  @TempDir Path folder;

  private record Link(long n, long tsc, long before, long chain) {
    Link next(long ticks) {
      long later = tsc + ticks;
      return new Link(n + 1, later, chain, GuestFormat.chain(chain, n + 1, later));
    }

    String line() {
      return "seq %d %016x\n".formatted(n, chain);
    }
  }

  /** Links 1 to count. */
  private static List<Link> links(int count) {
    List<Link> links = new ArrayList<>();
    Link link = new Link(0, 5_000_000_000L, 0, BOOT);
    Random random = new Random(7);
    for (int i = 0; i < count; i++) {
      link = link.next(1 + random.nextInt(30_000_000));
      links.add(link);
    }
    return links;
  }

  private static String start() {
    return "boot %016x\nready heartbeat=17634000 bootid=%016x cpus=1 pattern=4096 disk=16\n"
        .formatted(BOOT, BOOT);
  }

  private static String log(List<Link> links) {
    StringBuilder log = new StringBuilder(start());
    links.forEach(l -> log.append(l.line()));
    return log.toString();
  }

  private static Witness witness(String log) {
    Witness witness = new Witness();
    byte[] bytes = log.getBytes(StandardCharsets.ISO_8859_1);
    witness.console(bytes, 0, bytes.length);
    return witness;
  }

  private static void assertBroken(ChainCheck check, String... what) {
    assertThat(check)
        .isInstanceOfSatisfying(
            ChainCheck.Broken.class,
            b -> {
              assertThat(b.good()).isFalse();
              assertThat(b.count()).isEqualTo(what.length);
              for (int i = 0; i < what.length; i++) {
                assertThat(b.faults().get(i)).contains(what[i]);
              }
            });
  }

  // ---- console ----

  @Test
  void anUnbrokenConsole() {
    Witness witness = witness(log(links(2000)));
    assertThat(witness.ready()).isTrue();
    assertThat(witness.boot()).isEqualTo(BOOT);
    assertThat(witness.last()).isEqualTo(2000);
    assertThat(witness.consoleCheck()).isEqualTo(new ChainCheck.Unbroken(BOOT, 1, 2000));
  }

  @Test
  void nothingYet() {
    assertThat(witness("").consoleCheck()).isEqualTo(new ChainCheck.Unbroken(0, 0, 0));
    assertThat(witness(start()).consoleCheck()).isEqualTo(new ChainCheck.Unbroken(BOOT, 0, 0));
  }

  /** What a log whose file system is full has of a guest's lines, cut at any byte. */
  private static String cut(String text, Random random) {
    StringBuilder log = new StringBuilder(text);
    for (int i = 0; i < 5; i++) {
      int from = random.nextInt(log.length() - 700);
      log.delete(from, from + random.nextInt(500));
    }
    return log.toString();
  }

  private static Witness withGaps(String before, String text) {
    Witness witness = witness(before);
    witness.mayHaveGaps(true);
    byte[] bytes = text.getBytes(StandardCharsets.ISO_8859_1);
    witness.console(bytes, 0, bytes.length);
    witness.mayHaveGaps(false);
    return witness;
  }

  private static String lines(List<Link> links) {
    StringBuilder text = new StringBuilder();
    links.forEach(link -> text.append(link.line()));
    return text.toString();
  }

  @Test
  void consoleWithGaps() {
    List<Link> links = links(3000);
    for (int seed = 0; seed < 300; seed++) {
      String text = cut(lines(links.subList(20, 2900)), new Random(seed));
      text += lines(links.subList(2900, 2950));
      Witness witness = withGaps(log(links.subList(0, 20)), text);
      byte[] rest = lines(links.subList(2950, 3000)).getBytes(StandardCharsets.ISO_8859_1);
      witness.console(rest, 0, rest.length);
      assertThat(witness.consoleCheck())
          .as("seed %d", seed)
          .isEqualTo(new ChainCheck.Unbroken(BOOT, 1, 3000));
    }
  }

  @Test
  void forkAndRepeatInAConsoleWithGaps() {
    List<Link> links = links(400);
    String before = log(links.subList(0, 100));
    String gone = lines(links.subList(150, 200));
    assertBroken(withGaps(before, gone + links.get(160).line()).consoleCheck(), "seq 161 again");
    Link fork = links.get(180).next(12_345);
    assertBroken(
        withGaps(before, gone + fork.line() + fork.next(7).line()).consoleCheck(),
        "seq 183 again, with another chain: the guest forked");
    fork = links.get(198).next(12_345);
    assertBroken(
        withGaps(before, gone + fork.line() + fork.next(7).line()).consoleCheck(),
        "of seq 201 does not follow from");
    assertBroken(
        withGaps(before, "boot %016x\n".formatted(BOOT + 1)).consoleCheck(), "the guest rebooted");
  }

  @Test
  void bytesMayComeInAnyPiece() {
    byte[] bytes =
        (log(links(300)).replace("\n", "\r\n") + "seq 30").getBytes(StandardCharsets.UTF_8);
    Random random = new Random(3);
    Witness witness = new Witness();
    for (int at = 0; at < bytes.length; ) {
      int length = Math.min(bytes.length - at, random.nextInt(12));
      witness.console(bytes, at, length);
      at += length;
    }
    assertThat(witness.consoleCheck()).isEqualTo(new ChainCheck.Unbroken(BOOT, 1, 300));
  }

  @Test
  void aLogIsFollowed() throws IOException {
    Path log = folder.resolve("console.log");
    String text = log(links(3000));
    Witness witness = new Witness();
    for (int end : new int[] {0, 100, 5_000, 5_001, text.length()}) {
      Files.writeString(log, text.substring(0, end));
      witness.follow(log);
    }
    assertThat(witness.last()).isEqualTo(3000);
    assertThat(witness.consoleCheck().good()).isTrue();
    Files.writeString(log, "");
    witness.follow(log);
    assertBroken(witness.consoleCheck(), "became shorter");
  }

  @Test
  @Promise("proofs")
  void aRepeat() {
    List<Link> links = links(10);
    links.add(6, links.get(5));
    assertBroken(witness(log(links)).consoleCheck(), "line 9: seq 6 again");
  }

  @Test
  @Promise("proofs")
  void aSkip() {
    List<Link> links = links(10);
    links.remove(5);
    assertBroken(witness(log(links)).consoleCheck(), "line 8: seq 7 after 5");
  }

  @Test
  @Promise("proofs")
  void aForkThatGoesBack() {
    List<Link> links = links(10);
    Link other = links.get(5).next(31_000_000);
    links.add(other);
    assertBroken(
        witness(log(links)).consoleCheck(), "seq 7 again, with another chain: the guest forked");
  }

  @Test
  @Promise("proofs")
  void aForkOfWhichEachHalfWroteEachNumberOnce() {
    List<Link> links = new ArrayList<>(links(10));
    Link other = links.get(8).next(31_000_000).next(1_000_000);
    links.add(other);
    // 10 is the one's, 11 the other's: no number repeats or is missing.
    assertBroken(witness(log(links)).consoleCheck(), "of seq 11 does not follow");
  }

  @Test
  void aClockThatWentBack() {
    List<Link> links = new ArrayList<>(links(10));
    links.add(links.getLast().next(-5));
    assertBroken(witness(log(links)).consoleCheck(), "of seq 11 does not follow");
  }

  @Test
  void linesThatLostAPart() {
    String log = log(links(10));
    int at = log.indexOf("seq 5");
    assertBroken(
        witness(log.substring(0, at) + log.substring(at + 2)).consoleCheck(),
        "q 5 ",
        "seq 6 after 4");
    int newline = log.indexOf('\n', at);
    assertBroken(
        witness(log.substring(0, newline) + log.substring(newline + 1)).consoleCheck(),
        "seq 5 ",
        "seq 7 after 4");
    assertBroken(
        witness(log.substring(0, newline - 1) + log.substring(newline)).consoleCheck(),
        "seq 5 ",
        "seq 6 after 4");
  }

  @Test
  @Promise("proofs")
  void aReboot() {
    assertBroken(
        witness(log(links(3)) + "boot %016x\n".formatted(BOOT + 2)).consoleCheck(), "rebooted");
  }

  @Test
  void whatTheGuestComplainsAboutBreaksNoChainButIsTold() {
    Witness witness =
        witness("note: no such module\n" + log(links(3)) + "problem clock went back by 3 ns\n");
    assertThat(witness.consoleCheck().good()).isTrue();
    assertThat(witness.complaints()).containsExactly("problem clock went back by 3 ns");
  }

  @Test
  void aLineThatTheGuestDoesNotWrite() {
    String wrong = "wrong pattern page 3 generation 4\n[  1.0] Oops\n";
    assertBroken(witness(log(links(3)) + wrong).consoleCheck(), "wrong pattern page 3", "Oops");
  }

  @Test
  void whatTheKernelSaysWhileItBoots() {
    String lockup = "[  452.484189] watchdog: BUG: soft lockup - CPU#0 stuck for 39s! [init:1]\n";
    String ready = start() + links(1).getFirst().line();
    int boot = ready.indexOf('\n') + 1;
    assertThat(witness(lockup + ready).consoleCheck().good()).isTrue();
    assertThat(witness(ready.substring(0, boot) + lockup + ready.substring(boot)).consoleCheck())
        .isEqualTo(new ChainCheck.Unbroken(BOOT, 1, 1));
    assertBroken(witness(ready + lockup).consoleCheck(), "line 4: [  452.484189] watchdog");
    assertBroken(witness("wrong pattern page 3 generation 4\n" + ready).consoleCheck(), "line 1");
  }

  // ---- disk ----

  private Path disk(List<Link> written) throws IOException {
    ByteBuffer sectors =
        ByteBuffer.allocate(SLOTS * GuestFormat.SECTOR).order(ByteOrder.LITTLE_ENDIAN);
    for (Link l : written) {
      int at = (int) (l.n % SLOTS) * GuestFormat.SECTOR;
      long[] words = {GuestFormat.magic(GuestFormat.DISK), BOOT, l.n, l.tsc, l.before, l.chain};
      for (int w = 0; w < GuestFormat.SECTOR_WORDS; w++) {
        long word = w < words.length ? words[w] : GuestFormat.word(l.chain, w);
        sectors.putLong(at + w * Long.BYTES, word);
      }
    }
    return Files.write(folder.resolve("disk.raw"), sectors.array());
  }

  @Test
  void anUnbrokenDisk() throws IOException {
    List<Link> links = links(10);
    assertThat(witness(log(links)).disk(disk(links), 10))
        .isEqualTo(new ChainCheck.Unbroken(BOOT, 1, 10));
    // The last record is on the disk before the console tells it.
    assertThat(witness(log(links.subList(0, 9))).disk(disk(links), 10).good()).isTrue();
    assertThat(witness(start()).disk(disk(List.of()), 0))
        .isEqualTo(new ChainCheck.Unbroken(BOOT, 0, 0));
  }

  @Test
  void aDiskThatWasOverwrittenInTurn() throws IOException {
    List<Link> links = links(100);
    assertThat(witness(log(links)).disk(disk(links), 100))
        .isEqualTo(new ChainCheck.Unbroken(BOOT, 85, 100));
  }

  @Test
  @Promise("proofs")
  void aMissingRecord() throws IOException {
    List<Link> links = links(100);
    List<Link> written = new ArrayList<>(links);
    written.remove(89);
    assertBroken(
        witness(log(links)).disk(disk(written), 0),
        "record 90 is missing; its place holds 74",
        "record 74 should have been overwritten");
  }

  @Test
  @Promise("proofs")
  void aLostEnd() throws IOException {
    List<Link> links = links(10);
    assertBroken(
        witness(log(links)).disk(disk(links.subList(0, 8)), 10),
        "the last record is 8, but 10 was safe",
        "the last record is 8, the console's 10");
  }

  @Test
  void aDiskAheadOfTheConsole() throws IOException {
    List<Link> links = links(12);
    assertBroken(
        witness(log(links.subList(0, 10))).disk(disk(links), 0),
        "the last record is 12, the console's 10");
  }

  @Test
  @Promise("proofs")
  void aForkOnTheDisk() throws IOException {
    List<Link> links = links(10);
    List<Link> written = new ArrayList<>(links);
    written.set(6, links.get(5).next(31_000_000));
    assertBroken(
        witness(log(links)).disk(disk(written), 0),
        "record 7 is not the one that the console told",
        "record 8 does not follow from 7");
  }

  @Test
  @Promise("proofs")
  void aTornRecord() throws IOException {
    List<Link> links = links(10);
    Path disk = disk(links);
    byte[] bytes = Files.readAllBytes(disk);
    bytes[7 * GuestFormat.SECTOR + 300] ^= 1;
    Files.write(disk, bytes);
    assertBroken(
        witness(log(links)).disk(disk, 0), "sector 7 holds a record that is not whole, number 7");
  }
}
