package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.testbed.SkippedException;
import io.holdfast.testbed.Trouble;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.zip.Deflater;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;
import java.util.zip.ZipException;

/**
 * What the plan's check of the next kernel prevents: an update of the kernel in which the kernel
 * that is loaded, or its command line, is another one than was checked. A guest is lost each time.
 */
@Promise("kernel-plan")
public abstract class Forced implements Scenario {
  private static final String VM = "web";

  private final String what;

  Forced(String what) {
    this.what = what;
  }

  @Override
  public String name() {
    return "forced-" + what;
  }

  @Override
  public Setup setup() {
    return Setup.standard().withLimit(Duration.ofMinutes(8));
  }

  @Override
  public void prepare(Outside out) throws IOException {
    InstalledHoldfast.require();
  }

  /** The agent on a kernel that loads another kernel than it is told. */
  static final class Swapping {
    private Swapping() {}

    /** Told {@code line} and a whole command line, or {@code image} and a kernel's image. */
    public static void main(String[] arguments) throws IOException {
      InstalledHoldfast.serve(
          (call, a, b, c, d, e, f) -> {
            if (call != Call.KEXEC_FILE_LOAD || a < 0) {
              return Kernel.system().call(call, a, b, c, d, e, f);
            }
            if (arguments[0].equals("image")) {
              try (Fd other = Linux.system().open(Path.of(arguments[1]))) {
                return Kernel.system().call(call, other.number(), b, c, d, e, f);
              }
            }
            try (Arena arena = Arena.ofConfined()) {
              MemorySegment line = arena.allocateFrom(arguments[1]);
              return Kernel.system().call(call, a, b, line.byteSize(), line.address(), e, f);
            }
          });
    }
  }

  /** Updates the kernel through an agent that was told this. */
  final void update(Inside in, String... arguments) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process agent = holdfast.startAgent(Swapping.class, arguments);
    holdfast.awaitAgent(agent);
    holdfast.runFirmware(VM);
    holdfast.updateKernel();
  }

  /** Nothing is there, and nothing says that there was something. */
  final void allGone(Inside in) throws IOException {
    LuoRefusals.refused(
        in,
        "nothing can be retrieved",
        Errno.ENOENT,
        () -> in.linux().liveUpdate().retrieve("holdfast").toString());
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    String vms = holdfast.must("vm", "list");
    in.check("the VM is gone: " + vms.replace('\n', '|'), !vms.contains(VM));
    in.note("the agent says: " + holdfast.said().replace('\n', '|'));
    in.check("nobody says that it was there", !holdfast.said().contains(VM));
  }

  /** The next kernel's orchestrator is off. */
  public static final class WithoutLiveupdate extends Forced {
    /** Makes it. */
    public WithoutLiveupdate() {
      super("without-liveupdate");
    }

    @Override
    public String title() {
      return "forced into a kernel without liveupdate=on, a guest is gone without a word";
    }

    @Override
    public void before(Inside in) throws IOException {
      update(in, "line", in.nextCommandLine().replace(" liveupdate=on", ""));
    }

    @Override
    public void after(Inside in) throws IOException {
      allGone(in);
    }
  }

  /** The next kernel takes over no memory at all, as one that has no KHO. */
  public static final class WithoutKho extends Forced {
    /** Makes it. */
    public WithoutKho() {
      super("without-kho");
    }

    @Override
    public String title() {
      return "forced into a kernel whose KHO is off, a guest is gone without a word";
    }

    @Override
    public void before(Inside in) throws IOException {
      update(in, "line", in.nextCommandLine().replace(" kho=on", " kho=off"));
    }

    @Override
    public void after(Inside in) throws IOException {
      in.check(
          "the kernel has received nothing", !Files.exists(Path.of("/sys/kernel/debug/kho/in")));
      allGone(in);
    }
  }

  /** The next kernel reads another version of the orchestrator's state. */
  public static final class OtherLuo extends Forced {
    private static final String IMAGE = "other-luo";

    // Documentation/arch/x86/boot.rst
    private static final int SETUP_SECTORS = 0x1f1;
    private static final int PAYLOAD_OFFSET = 0x248;
    private static final int PAYLOAD_LENGTH = 0x24c;
    private static final int SECTOR = 512;

    /** Makes it. */
    public OtherLuo() {
      super("other-luo");
    }

    @Override
    public String title() {
      return "forced into a kernel that reads another version of the state, it panics";
    }

    @Override
    public Optional<Trouble.Kind> provokes() {
      return Optional.of(Trouble.Kind.PANIC);
    }

    /** Makes the same kernel with another version's name in it: unpacked, changed, packed. */
    @Override
    public void prepare(Outside out) throws IOException {
      super.prepare(out);
      byte[] image = Files.readAllBytes(out.next().image());
      ByteBuffer header = ByteBuffer.wrap(image).order(ByteOrder.LITTLE_ENDIAN);
      int at =
          (1 + Byte.toUnsignedInt(image[SETUP_SECTORS])) * SECTOR + header.getInt(PAYLOAD_OFFSET);
      int length = header.getInt(PAYLOAD_LENGTH);
      byte[] code;
      try (InputStream packed =
          new GZIPInputStream(new ByteArrayInputStream(image, at, length), length)) {
        code = packed.readAllBytes();
      } catch (ZipException e) {
        throw new SkippedException("the kernel is not packed with gzip: " + e.getMessage());
      }
      out.check("the kernel has luo-v5 in it", replace(code, "luo-v5", "luo-v6") > 0);
      forgetConfiguration(code);
      byte[] again = packed(code);
      if (again.length > length) {
        throw new IOException("packed again it has " + again.length + " bytes, not " + length);
      }
      Arrays.fill(image, at, at + length, (byte) 0);
      System.arraycopy(again, 0, image, at, again.length);
      Files.write(out.exchange().resolve(IMAGE), image);
    }

    /** As small as the kernel's own build packs it, which takes gzip's best. */
    private static byte[] packed(byte[] code) throws IOException {
      ByteArrayOutputStream packed = new ByteArrayOutputStream();
      try (GZIPOutputStream gzip =
          new GZIPOutputStream(packed) {
            {
              def.setLevel(Deflater.BEST_COMPRESSION);
            }
          }) {
        gzip.write(code);
      }
      return packed.toByteArray();
    }

    /**
     * Wipes the kernel's own copy of its configuration, which is packed already: so that all of it
     * packed again finds room where it was.
     */
    private static void forgetConfiguration(byte[] code) {
      int from = indexOf(code, "IKCFG_ST", 0);
      int to = from < 0 ? -1 : indexOf(code, "IKCFG_ED", from);
      if (to > 0) {
        Arrays.fill(code, from + "IKCFG_ST".length(), to, (byte) 0);
      }
    }

    private static int indexOf(byte[] bytes, String text, int from) {
      byte[] wanted = text.getBytes(StandardCharsets.US_ASCII);
      for (int at = from; at + wanted.length <= bytes.length; at++) {
        if (Arrays.equals(bytes, at, at + wanted.length, wanted, 0, wanted.length)) {
          return at;
        }
      }
      return -1;
    }

    private static int replace(byte[] bytes, String from, String to) {
      byte[] other = to.getBytes(StandardCharsets.US_ASCII);
      int changed = 0;
      for (int at = indexOf(bytes, from, 0); at >= 0; at = indexOf(bytes, from, at + 1)) {
        System.arraycopy(other, 0, bytes, at, other.length);
        changed++;
      }
      return changed;
    }

    @Override
    public void before(Inside in) throws IOException {
      update(in, "image", in.exchange().resolve(IMAGE).toString());
    }

    @Override
    public void outside(Outside out) throws IOException {
      String console = out.console();
      String second = console.substring(console.lastIndexOf("Linux version"));
      out.check(
          "it was the next kernel, after a kexec",
          console.indexOf("Linux version") < console.length() - second.length());
      List<String> why =
          second
              .lines()
              .filter(line -> line.contains("luo") || line.contains("panic"))
              .limit(5)
              .toList();
      why.forEach(out::note);
      out.check(
          "the orchestrator was the reason",
          why.stream().anyMatch(line -> line.contains("luo"))
              && why.stream().anyMatch(line -> line.contains("Kernel panic")));
    }
  }
}
