package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.MemfdOption;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.linux.Protection;
import io.holdfast.linux.Seal;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.Set;

/**
 * A memfd of 1 GiB crosses a kexec. Its content comes from a disk that the outside filled with
 * random bytes; after the kexec it is written to a second disk, and the outside compares.
 */
@Promise("kernel-facts")
public class MemfdCrosses implements Scenario {
  private static final long BYTES = 1L << 30;
  private static final int CHUNK = 4 << 20;
  private static final long POSITION = 123_456_789;
  private static final Set<Seal> SEALS = EnumSet.of(Seal.SHRINK, Seal.GROW, Seal.SEAL);
  private static final String SESSION = "memfd-crosses";
  private static final long TOKEN = 0xFEED_FACE_CAFE_BEEFL;

  @Override
  public String title() {
    return "a memfd of 1 GiB of random content crosses a kexec driven from Java";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(4096)
        .withDevices(new Setup.Device.Disk(BYTES), new Setup.Device.Disk(BYTES));
  }

  @Override
  public void prepare(Outside out) throws IOException {
    byte[] chunk = new byte[CHUNK];
    try (InputStream random = Files.newInputStream(Path.of("/dev/urandom"));
        OutputStream disk = Files.newOutputStream(out.disk(0))) {
      for (long at = 0; at < BYTES; at += CHUNK) {
        disk.write(chunk, 0, random.readNBytes(chunk, 0, CHUNK));
      }
    }
  }

  @Override
  public void before(Inside in) throws IOException {
    Fd memory = in.linux().memfd("ram", BYTES, MemfdOption.ALLOW_SEALING);
    // Straight between disk and memfd: nothing of it stays in the page cache, or takes its time.
    try (Mapping mapped = in.linux().map(memory, 0, BYTES, Protection.WRITE);
        Fd disk = in.linux().open(Path.of("/dev/vda"), OpenFlag.READ, OpenFlag.DIRECT)) {
      for (long done = 0; done < BYTES; ) {
        long size = Math.min(CHUNK, BYTES - done);
        done += in.linux().read(disk, mapped.segment().asSlice(done, size));
      }
    }
    in.linux().seal(memory, SEALS);
    in.linux().seek(memory, POSITION);
    OutgoingSession session = in.linux().liveUpdate().create(SESSION);
    long start = System.nanoTime();
    session.preserve(memory, TOKEN);
    in.note("preserving took %.1f ms".formatted((System.nanoTime() - start) / 1e6));
    in.same("the session knows its name", SESSION, session.name());
    in.kexec();
  }

  @Override
  public void after(Inside in) throws IOException {
    long start = System.nanoTime();
    try (IncomingSession session = in.linux().liveUpdate().retrieve(SESSION);
        Fd memory = session.retrieve(TOKEN)) {
      in.note("retrieving took %.1f ms".formatted((System.nanoTime() - start) / 1e6));
      in.same("the size is what it was", BYTES, in.linux().size(memory));
      in.same("so are the seals", SEALS, in.linux().seals(memory));
      in.same("and the position", POSITION, in.linux().position(memory));
      try (Mapping mapped = in.linux().map(memory, 0, BYTES, Protection.READ);
          Fd disk = in.linux().open(Path.of("/dev/vdb"), OpenFlag.WRITE, OpenFlag.DIRECT)) {
        for (long done = 0; done < BYTES; done += CHUNK) {
          in.linux().write(disk, mapped.segment().asSlice(done, CHUNK));
        }
        in.linux().sync(disk);
      }
      session.finish();
      in.check("the session was finished", true);
    }
  }

  @Override
  public void outside(Outside out) throws IOException {
    out.same("its content is what it was, by SHA-256", digest(out.disk(0)), digest(out.disk(1)));
    // Two gigabytes that only say what the digest says.
    Files.delete(out.disk(0));
    Files.delete(out.disk(1));
  }

  private static String digest(Path file) throws IOException {
    try (InputStream in = Files.newInputStream(file)) {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      byte[] chunk = new byte[CHUNK];
      for (int bytes = in.read(chunk); bytes >= 0; bytes = in.read(chunk)) {
        digest.update(chunk, 0, bytes);
      }
      return HexFormat.of().formatHex(digest.digest());
    } catch (NoSuchAlgorithmException e) {
      throw new UncheckedIOException(new IOException(e));
    }
  }
}
