package io.holdfast.kho.image;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.zip.GZIPOutputStream;

/** Makes files that look like kernels, as far as this package looks. */
final class FakeKernel {
  static final String RELEASE = "7.3.4-test";
  static final String BANNER =
      "Linux version " + RELEASE + " (who@where) (gcc 12) #1 SMP Wed Nov 25 22:00:00 UTC 2026";

  /** Where the data segment is loaded to, and where in the file it lies. */
  private static final long ADDRESS = 0xffffffff82000000L;

  private static final int DATA = 4096;

  private final List<String> strings = new ArrayList<>();
  private final List<String> handlers = new ArrayList<>();
  private String banner = BANNER;
  private String config = "";
  private int machine = 62;
  private int noise = 300_000;
  private int xloadflags = 3;

  static FakeKernel speaking(String... names) {
    FakeKernel kernel = new FakeKernel();
    kernel.strings.addAll(Arrays.asList(names));
    return kernel;
  }

  /** One that a 7.3 kernel would hand over to. */
  static FakeKernel good() {
    return speaking("kho-v4", "luo-v5").handler("memfd-v2").config("CONFIG_KEXEC_HANDOVER=y\n");
  }

  FakeKernel handler(String name) {
    handlers.add(name);
    return this;
  }

  FakeKernel banner(String text) {
    banner = text;
    return this;
  }

  FakeKernel config(String text) {
    config = text;
    return this;
  }

  FakeKernel machine(int number) {
    machine = number;
    return this;
  }

  FakeKernel noise(int bytes) {
    noise = bytes;
    return this;
  }

  FakeKernel xloadflags(int flags) {
    xloadflags = flags;
    return this;
  }

  /** An ELF file with one segment that is loaded, and debugging strings that are not. */
  byte[] vmlinux() {
    ByteArrayOutputStream data = new ByteArrayOutputStream();
    // Three functions and no more operations, as all handlers have at least.
    for (int i = 0; i < 10; i++) {
      data.writeBytes(little(i < 3 ? ADDRESS + 16L * i : 0));
    }
    data.writeBytes(new byte[48]);
    text(data, banner.replaceFirst("#.*", "# SMP ") + "\n"); // the draft
    text(data, banner + "\n");
    text(data, "%s version %s");
    text(data, "Linux version %s");
    text(data, "the log says kho-v9 and luo-v9 somewhere");
    text(data, "xkho-v8");
    text(data, "kho-v7x");
    text(data, "kho-v");
    text(data, "some-driver-v3");
    for (String string : strings) {
      text(data, string);
    }
    for (String name : handlers) {
      align(data, 8);
      data.writeBytes(little(ADDRESS));
      data.writeBytes(Arrays.copyOf(name.getBytes(StandardCharsets.US_ASCII), 48));
      data.writeBytes(new byte[32]);
    }
    if (!config.isEmpty()) {
      text(data, "IKCFG_ST");
      data.writeBytes("IKCFG_ST".getBytes(StandardCharsets.US_ASCII));
      data.writeBytes(gzip(config.getBytes(StandardCharsets.UTF_8)));
      data.writeBytes("IKCFG_ED".getBytes(StandardCharsets.US_ASCII));
    }
    data.writeBytes(content(noise));
    ByteBuffer elf = ByteBuffer.allocate(DATA + data.size() + 64).order(ByteOrder.LITTLE_ENDIAN);
    elf.put(new byte[] {0x7f, 'E', 'L', 'F', 2, 1, 1});
    elf.putShort(16, (short) 2).putShort(18, (short) machine).putLong(32, 64);
    elf.putShort(54, (short) 56).putShort(56, (short) 2);
    // A note, which is not loaded, over the debugging strings, and the data.
    elf.putInt(64, 4).putLong(64 + 8, DATA + data.size()).putLong(64 + 32, 64);
    elf.putInt(120, 1).putLong(120 + 8, DATA).putLong(120 + 16, ADDRESS);
    elf.putLong(120 + 32, data.size()).putLong(120 + 40, data.size());
    elf.position(DATA)
        .put(data.toByteArray())
        .put("\0kho-v6\0luo-v6\0".getBytes(StandardCharsets.US_ASCII));
    return elf.array();
  }

  /** A bzImage around a packed vmlinux, with what the build puts behind it: the size. */
  byte[] bzImage(byte[] packed, boolean size) {
    int sectors = 4;
    int setup = (sectors + 1) * 512;
    byte[] payload = packed;
    if (size) {
      payload = Arrays.copyOf(packed, packed.length + 4);
      System.arraycopy(little(vmlinux().length), 0, payload, packed.length, 4);
    }
    int code = 64 + payload.length + 15 & ~15;
    ByteBuffer image = ByteBuffer.allocate(setup + code).order(ByteOrder.LITTLE_ENDIAN);
    image.put(0x1f1, (byte) sectors).putInt(0x1f4, code / 16).putShort(0x1fe, (short) 0xaa55);
    image.putInt(0x202, 0x53726448).putShort(0x206, (short) 0x20f).put(0x211, (byte) 1);
    image.putShort(0x236, (short) xloadflags);
    image.putInt(0x248, 64).putInt(0x24c, payload.length);
    String version = banner.replace("Linux version ", "");
    image.putShort(0x20e, (short) 0x500).position(0x700);
    image.put(version.getBytes(StandardCharsets.UTF_8));
    image.position(setup + 64).put(payload);
    return image.array();
  }

  /** A bzImage, packed by the JDK. */
  byte[] bzImage() {
    return bzImage(gzip(vmlinux()), false);
  }

  Path write(Path file) throws IOException {
    return Files.write(file, bzImage());
  }

  KernelImage read(Path folder) throws IOException, ImageException {
    Path file = Files.createTempFile(folder, "kernel", "");
    return KernelImage.read(write(file));
  }

  private static void text(ByteArrayOutputStream into, String text) {
    into.writeBytes(text.getBytes(StandardCharsets.UTF_8));
    into.write(0);
  }

  private static void align(ByteArrayOutputStream into, int to) {
    while (into.size() % to != 0) {
      into.write(0);
    }
  }

  static byte[] little(long value) {
    return ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array();
  }

  /** Bytes that compress as code does: repeated in pieces, near and far, with others in between. */
  static byte[] content(int size) {
    Random random = new Random(42);
    byte[] bytes = new byte[size];
    int at = 0;
    while (at < size) {
      int piece = Math.min(size - at, 1 + (int) Math.abs(random.nextGaussian() * 40));
      if (at > 100 && random.nextInt(3) > 0) {
        int from = random.nextBoolean() ? random.nextInt(at) : at - 1 - random.nextInt(80);
        for (int i = 0; i < piece; i++) {
          bytes[at + i] = bytes[from + i];
        }
      } else {
        for (int i = 0; i < piece; i++) {
          bytes[at + i] = (byte) (random.nextGaussian() * 30);
        }
      }
      at += piece;
    }
    return bytes;
  }

  static byte[] gzip(byte[] data) {
    ByteArrayOutputStream packed = new ByteArrayOutputStream();
    try (GZIPOutputStream gzip = new GZIPOutputStream(packed)) {
      gzip.write(data);
    } catch (IOException e) {
      throw new AssertionError("in memory nothing fails", e);
    }
    return packed.toByteArray();
  }

  /** Packs with a program; empty when there is none. */
  static Optional<byte[]> packed(Path folder, byte[] data, String... command) throws IOException {
    boolean there =
        Arrays.stream(System.getenv().getOrDefault("PATH", "").split(":"))
            .anyMatch(dir -> Files.isExecutable(Path.of(dir).resolve(command[0])));
    if (!there) {
      return Optional.empty();
    }
    Path in = Files.write(Files.createTempFile(folder, "data", ""), data);
    Path out = Files.createTempFile(folder, "packed", "");
    Process process =
        new ProcessBuilder(command)
            .redirectInput(in.toFile())
            .redirectOutput(out.toFile())
            .redirectError(ProcessBuilder.Redirect.DISCARD)
            .start();
    try {
      if (!process.waitFor(2, TimeUnit.MINUTES) || process.exitValue() != 0) {
        throw new AssertionError(String.join(" ", command) + " failed");
      }
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
      throw new AssertionError("interrupted", e);
    }
    return Optional.of(Files.readAllBytes(out));
  }
}
