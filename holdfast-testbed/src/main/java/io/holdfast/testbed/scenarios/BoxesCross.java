package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.Protection;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * 500 memfds in 50 boxes, 1 GiB in all, go over an update of the kernel; and so does a session that
 * another program has made, which Holdfast does not touch. Two VMs that can't come up on the other
 * side are held. One is given up and run anew, which does not disturb it when the other one comes,
 * once what that lacked is there.
 */
@Promise("boxes")
public final class BoxesCross implements Scenario {
  private static final int BOXES = 50;
  private static final int ENTRIES = 10;
  private static final long TOTAL = 1L << 30;
  private static final long PAGE = 4096;

  /** From one word that is looked at to the next: each page has some, and it takes less long. */
  private static final long STRIDE = 512;

  private static final String VM = "web";
  private static final String GIVEN_UP = "given-up";
  private static final String FOREIGN = "somebody else's";

  @Override
  public String title() {
    return "500 memfds in 50 boxes and a foreign session go over an update of the kernel";
  }

  @Override
  public Setup setup() {
    return Setup.standard().withMemory(3072).withLimit(Duration.ofMinutes(12));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
  }

  /** Sizes in pages that add up to {@link #TOTAL}. */
  private static List<Long> sizes() {
    SplittableRandom random = new SplittableRandom(7);
    int count = BOXES * ENTRIES;
    long left = TOTAL / PAGE;
    List<Long> sizes = new ArrayList<>();
    for (int i = 0; i < count - 1; i++) {
      long mean = left / (count - i);
      long pages = 1 + random.nextLong(2 * mean - 1);
      sizes.add(pages);
      left -= pages;
    }
    sizes.add(left);
    return sizes;
  }

  private static String box(int i) {
    return "box" + i / ENTRIES;
  }

  private static String label(int i) {
    return "entry" + i % ENTRIES;
  }

  /** Writes words that follow from its number all over a memfd. */
  private static void fill(Linux linux, Fd memfd, int number) {
    try (Mapping mapping =
        linux.map(memfd, 0, linux.size(memfd), Protection.READ, Protection.WRITE)) {
      MemorySegment memory = mapping.segment();
      SplittableRandom random = new SplittableRandom(number);
      for (long at = 0; at < memory.byteSize(); at += STRIDE) {
        memory.set(ValueLayout.JAVA_LONG, at, random.nextLong());
      }
    }
  }

  private static boolean filled(Linux linux, Fd memfd, int number) {
    try (Mapping mapping = linux.map(memfd, 0, linux.size(memfd), Protection.READ)) {
      MemorySegment memory = mapping.segment();
      SplittableRandom random = new SplittableRandom(number);
      for (long at = 0; at < memory.byteSize(); at += STRIDE) {
        if (memory.get(ValueLayout.JAVA_LONG, at) != random.nextLong()) {
          return false;
        }
      }
      return true;
    }
  }

  /** A program of its own that has a session: this scenario's JVM once more. */
  static final class Other {
    private Other() {}

    /** Makes the session, says so in a file, and waits. */
    public static void main(String[] arguments) throws IOException, InterruptedException {
      Linux linux = Linux.system();
      Fd memfd = linux.memfd("foreign", PAGE);
      linux.write(memfd, MemorySegment.ofArray("untouched".getBytes(StandardCharsets.US_ASCII)));
      var session = linux.liveUpdate().create(FOREIGN);
      session.preserve(memfd, 42);
      Files.writeString(Path.of(arguments[0]), "there");
      new java.util.concurrent.CountDownLatch(1).await();
    }
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    Path there = Path.of("/run/foreign");
    Process _ =
        new ProcessBuilder(in.java("64m", Other.class, there.toString())).inheritIO().start();
    holdfast.runFirmware(VM);
    holdfast.runFirmware(GIVEN_UP);
    List<Long> sizes = sizes();
    try (VarlinkClient agent = holdfast.agent()) {
      for (int i = 0; i < sizes.size(); i++) {
        try (Fd memfd = in.linux().memfd("entry", sizes.get(i) * PAGE)) {
          fill(in.linux(), memfd, i);
          agent
              .call(
                  "io.holdfast.Box.Put",
                  JsonObject.of("box", box(i), "label", label(i), "descriptor", 0),
                  List.of(memfd))
              .close();
        }
      }
      in.same(
          "boxes",
          BOXES,
          agent.call("io.holdfast.Box.List", JsonObject.empty()).array("boxes").size());
    }
    while (!Files.exists(there)) {
      InstalledHoldfast.pause(100);
    }
    in.note("filled");
    holdfast.updateKernel("--session", FOREIGN);
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    List<Long> sizes = sizes();
    int right = 0;
    try (VarlinkClient agent = holdfast.agent()) {
      for (int i = 0; i < sizes.size(); i++) {
        try (Reply reply =
                agent.call(
                    "io.holdfast.Box.Get",
                    JsonObject.of("box", box(i), "label", label(i)),
                    List.of());
            Fd memfd = reply.descriptors().take(0)) {
          boolean same =
              in.linux().size(memfd) == sizes.get(i) * PAGE && filled(in.linux(), memfd, i);
          right += same ? 1 : 0;
        }
      }
    }
    in.same("memfds that are what they were", BOXES * ENTRIES, right);
    try (IncomingSession session = in.linux().liveUpdate().retrieve(FOREIGN);
        Fd memfd = session.retrieve(42)) {
      byte[] text = new byte[9];
      in.linux().seek(memfd, 0);
      int _ = in.linux().read(memfd, MemorySegment.ofArray(text));
      in.same("the foreign session's", "untouched", new String(text, StandardCharsets.US_ASCII));
      session.finish();
    }
    // Its disk is not there: its QEMU does not come up, and what it is restored from is held.
    String held = holdfast.must("vm", "list");
    in.check("the VM is held: " + held.replace('\n', '|'), held.contains("stuck"));
    in.same("trying again, in vain", 1, holdfast.holdfast("update", "retry").exit());
    String _ = holdfast.must("vm", "stop", GIVEN_UP);
    in.check(
        "nothing is left of the one that was given up",
        !Files.exists(Path.of("/run/holdfast/vms", GIVEN_UP)));
    holdfast.runFirmware(GIVEN_UP);
    long runsIn = holdfast.qemu(GIVEN_UP);
    in.same("trying again, in vain once more", 1, holdfast.holdfast("update", "retry").exit());
    in.same("what runs anew is left alone", runsIn, holdfast.qemu(GIVEN_UP));
    Path _ = InstalledHoldfast.disk(VM);
    in.same("trying again", 0, holdfast.holdfast("update", "retry").exit());
    holdfast.checkFirmware(VM);
    in.same("what runs anew is left alone, at the end", runsIn, holdfast.qemu(GIVEN_UP));
    holdfast.checkFirmware(GIVEN_UP);
    for (String id : InstalledHoldfast.reports()) {
      in.note(holdfast.must("update", "show", id).replace('\n', '|'));
    }
  }
}
