package io.holdfast.kho.image;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SeekableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Optional;

/**
 * What a file with a Linux kernel holds. It is told by the file's content alone, not by its name or
 * by what lies beside it.
 *
 * @param file the file that was read
 * @param format what kind of file it is
 * @param compression how the kernel in it is compressed; empty if it is not
 * @param architecture the machines it runs on
 * @param loadable whether kexec_file_load of x86-64 can load it; empty if so, else why not, as the
 *     end of a sentence
 * @param banner the line that it begins its log with and {@code /proc/version} shows: "Linux
 *     version …", without its newline
 * @param abi the versions of the handover formats it speaks
 * @param config its configuration, where it was built in (CONFIG_IKCONFIG)
 */
public record KernelImage(
    Path file,
    Format format,
    Optional<Compression> compression,
    Architecture architecture,
    Optional<String> loadable,
    String banner,
    KernelAbi abi,
    Optional<KernelConfig> config) {

  /**
   * The most that may come out of a compressed kernel, in bytes; it lies outside of the Java heap.
   */
  public static final long MAX_UNPACKED = 1L << 30;

  private static final long MAX_FILE = 1L << 30;

  // The kernel's Documentation/arch/x86/boot.rst: where fields of the setup header lie.
  private static final int SETUP_SECTS = 0x1f1;
  private static final int SYSSIZE = 0x1f4;
  private static final int BOOT_FLAG = 0x1fe;
  private static final int HEADER = 0x202;
  private static final int VERSION = 0x206;
  private static final int LOADFLAGS = 0x211;
  private static final int XLOADFLAGS = 0x236;
  private static final int PAYLOAD_OFFSET = 0x248;
  private static final int PAYLOAD_LENGTH = 0x24c;
  private static final int HDRS = 0x53726448;
  private static final int SECTOR = 512;

  private static final ValueLayout.OfShort U16 =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt U32 =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** What kind of file a kernel is in. */
  public enum Format {
    /** x86's boot image, whatever its compression. */
    BZIMAGE("bzImage"),
    /** The linked kernel as an ELF file, packed or not. */
    VMLINUX("vmlinux"),
    /** The boot image of arm64 and riscv, packed or not. */
    RAW("Image"),
    /** The boot image of arm64 and riscv that unpacks itself under EFI. */
    ZBOOT("EFI zboot image");

    private final String words;

    Format(String words) {
      this.words = words;
    }

    /** Its name, for people. */
    public String words() {
      return words;
    }
  }

  /**
   * Reads a kernel: a bzImage, a vmlinux, an image of arm64 or riscv, each packed in any way that
   * kernels are. Besides the file itself, which is in memory outside of the Java heap while this
   * runs, it takes up to {@link #MAX_UNPACKED} bytes there; of the heap it takes some megabytes,
   * and xz and lzma a dictionary of up to 128 MiB.
   *
   * @throws ImageException there is no such file, it can't be read, it is no kernel, it is damaged
   *     or cut off, or unpacking it takes more memory than there is
   */
  public static KernelImage read(Path file) throws ImageException {
    return read(file, MAX_UNPACKED);
  }

  static KernelImage read(Path file, long maxUnpacked) throws ImageException {
    try (Arena arena = Arena.ofConfined()) {
      return new Reader(file, maxUnpacked).read(load(file, arena));
    }
  }

  /** The release, as {@code uname -r} says it. */
  public String release() {
    return releaseOf(banner);
  }

  /** The release in a banner. */
  static String releaseOf(String banner) {
    String[] words = banner.split(" ", 4);
    return words.length > 2 ? words[2] : "";
  }

  /**
   * Whether an option is built in: by the configuration, and without one unknown.
   *
   * @param option its name, without {@code CONFIG_}
   */
  public Optional<Boolean> has(String option) {
    return config.map(c -> c.has(option));
  }

  /**
   * The version that a bzImage's header names, without unpacking it: the release, who built it, and
   * the rest of {@code uname -v}. Empty for anything else.
   */
  static Optional<String> headerVersion(Path file) {
    try (SeekableByteChannel channel = Files.newByteChannel(file)) {
      ByteBuffer head = ByteBuffer.allocate(64 << 10).order(ByteOrder.LITTLE_ENDIAN);
      while (head.hasRemaining() && channel.read(head) >= 0) {
        // Reads on.
      }
      head.flip();
      if (head.limit() < 0x268 || head.getInt(HEADER) != HDRS) {
        return Optional.empty();
      }
      int at = (head.getShort(0x20e) & 0xffff) + SECTOR;
      int end = at;
      while (end < head.limit() && head.get(end) != 0) {
        end++;
      }
      return at == SECTOR || end >= head.limit()
          ? Optional.empty()
          : Optional.of(new String(head.array(), at, end - at, StandardCharsets.UTF_8));
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  private static MemorySegment load(Path file, Arena arena) throws ImageException {
    if (Files.isDirectory(file)) {
      throw new ImageException(
          file, "it is a directory", "Name the kernel's file, as /boot/vmlinuz-$(uname -r)");
    }
    try {
      if (!Files.isRegularFile(file) && Files.exists(file)) {
        throw new ImageException(file, "it is no regular file", "Name the kernel's file");
      }
      try (SeekableByteChannel channel = Files.newByteChannel(file)) {
        long size = channel.size();
        if (size > MAX_FILE) {
          throw new ImageException(
              file,
              "its %d MiB are more than a kernel has".formatted(size >> 20),
              "Name the kernel's file, not that of a disk or a dump");
        }
        MemorySegment bytes = arena.allocate(Math.max(size, 1), 16);
        ByteBuffer buffer = bytes.asByteBuffer().limit((int) size);
        while (buffer.hasRemaining()) {
          if (channel.read(buffer) < 0) {
            throw new ImageException(
                file, "it shrank while it was read", "Try again when nobody writes it any more");
          }
        }
        return bytes.asSlice(0, size);
      }
    } catch (NoSuchFileException e) {
      throw new ImageException(file, "there is no such file", "Check the path", e);
    } catch (AccessDeniedException e) {
      throw new ImageException(
          file, "it may not be read", "Run this as a user who may, or as root", e);
    } catch (IOException e) {
      throw new ImageException(file, "it can't be read: " + e.getMessage(), "Check its disk", e);
    }
  }

  /** One image on its way to being understood. */
  private record Reader(Path file, long maxUnpacked) {
    KernelImage read(MemorySegment bytes) throws ImageException {
      if (bytes.byteSize() >= 0x268 && bytes.get(U32, HEADER) == HDRS) {
        return bzImage(bytes);
      }
      if (bytes.byteSize() >= 64 && (bytes.get(U16, 0) & 0xffff) == 0x5a4d) {
        if (bytes.get(U32, 4) == 0x676d697a) {
          return zboot(bytes);
        }
        if (Code.ofRaw(bytes).isEmpty()) {
          throw new ImageException(
              file,
              "it is an EFI program, but no Linux boot image",
              "A unified kernel image has the kernel in its section .linux: take it out with objcopy"
                  + " -O binary --only-section=.linux, and name that file");
        }
      }
      Optional<Compression> compression = Compression.of(bytes);
      if (compression.isPresent()) {
        return unpacked(bytes, 0, compression.get(), Optional.empty());
      }
      return plain(bytes, Optional.empty(), Optional.empty());
    }

    private KernelImage plain(
        MemorySegment code, Optional<Compression> compression, Optional<Format> format)
        throws ImageException {
      Format kind = format.orElse(Code.isElf(code) ? Format.VMLINUX : Format.RAW);
      return image(
          code,
          kind,
          compression,
          Optional.of("it is a " + kind.words() + ", and kexec takes only a bzImage on x86-64"));
    }

    private KernelImage bzImage(MemorySegment bytes) throws ImageException {
      int version = bytes.get(U16, VERSION) & 0xffff;
      if (version < 0x208) {
        throw new ImageException(
            file,
            "its boot protocol is %d.%02d, older than 2.08 of Linux 2.6.24"
                .formatted(version >> 8, version & 0xff),
            "Name a newer kernel");
      }
      int sectors = bytes.get(ValueLayout.JAVA_BYTE, SETUP_SECTS) & 0xff;
      long setup = ((sectors == 0 ? 4 : sectors) + 1L) * SECTOR;
      long whole = setup + (bytes.get(U32, SYSSIZE) & 0xffffffffL) * 16;
      long start = setup + (bytes.get(U32, PAYLOAD_OFFSET) & 0xffffffffL);
      long length = bytes.get(U32, PAYLOAD_LENGTH) & 0xffffffffL;
      if (whole > bytes.byteSize() || start + length > bytes.byteSize()) {
        throw new ImageException(
            file,
            "it was cut off: its header tells of %d bytes, and there are %d"
                .formatted(Math.max(whole, start + length), bytes.byteSize()),
            "Copy or install it again");
      }
      MemorySegment payload = bytes.asSlice(start, length);
      Optional<String> loadable = loadable(bytes, version);
      Optional<Compression> compression = Compression.of(payload);
      if (compression.isEmpty()) {
        if (!Code.isElf(payload)) {
          throw unknownCompression();
        }
        // CONFIG_KERNEL_UNCOMPRESSED is not for x86, but a bare ELF file costs nothing to take.
        return image(payload, Format.BZIMAGE, Optional.empty(), loadable);
      }
      // gzip tells the size in its own last bytes; behind all others the kernel's build puts it.
      return unpacked(
          payload,
          compression.get() == Compression.GZIP ? 0 : 4,
          compression.get(),
          Optional.of(new Boot(Format.BZIMAGE, loadable)));
    }

    /** What bzImage64_probe of arch/x86/kernel/kexec-bzimage64.c asks for. */
    private static Optional<String> loadable(MemorySegment bytes, int version) {
      int flags = bytes.get(U16, XLOADFLAGS);
      if ((bytes.get(U16, BOOT_FLAG) & 0xffff) != 0xaa55) {
        return Optional.of("it has no boot sector");
      }
      if (version < 0x20c) {
        return Optional.of("its boot protocol is older than 2.12");
      }
      if ((bytes.get(ValueLayout.JAVA_BYTE, LOADFLAGS) & 1) == 0) {
        return Optional.of("it is a zImage, not a bzImage");
      }
      if ((flags & 1) == 0) {
        return Optional.of("it has no 64-bit entry point");
      }
      if ((flags & 2) == 0) {
        return Optional.of(
            "it can't be loaded anywhere but at its own address (CONFIG_RELOCATABLE is off)");
      }
      return Optional.empty();
    }

    /** drivers/firmware/efi/libstub/zboot-header.S. */
    private KernelImage zboot(MemorySegment bytes) throws ImageException {
      long start = bytes.get(U32, 8) & 0xffffffffL;
      long length = bytes.get(U32, 12) & 0xffffffffL;
      if (start + length > bytes.byteSize()) {
        throw new ImageException(
            file,
            "it was cut off: its header tells of %d bytes, and there are %d"
                .formatted(start + length, bytes.byteSize()),
            "Copy or install it again");
      }
      MemorySegment payload = bytes.asSlice(start, length);
      Compression compression = Compression.of(payload).orElseThrow(() -> unknownCompression());
      return unpacked(
          payload,
          compression == Compression.GZIP ? 0 : 4,
          compression,
          Optional.of(
              new Boot(
                  Format.ZBOOT,
                  Optional.of(
                      "it is an EFI zboot image, and kexec takes only a bzImage on x86-64"))));
    }

    private ImageException unknownCompression() {
      return new ImageException(
          file,
          "the kernel in it is compressed with none of gzip, bzip2, lzma, xz, lzo, lz4 and zstd",
          "Name the vmlinux it was made from");
    }

    /** What is already known of a boot image from its header. */
    private record Boot(Format format, Optional<String> loadable) {}

    private KernelImage unpacked(
        MemorySegment packed, int trailer, Compression compression, Optional<Boot> boot)
        throws ImageException {
      // What the build puts behind it, where that makes sense: it may be anything.
      long hint =
          trailer == 4 && packed.byteSize() >= 4
              ? Math.min(
                  packed.get(U32, packed.byteSize() - 4) & 0xffffffffL, packed.byteSize() * 16)
              : packed.byteSize() * 4;
      try (Output out = new Output(maxUnpacked, hint)) {
        try {
          compression.decompress(packed, trailer, out);
        } catch (IOException e) {
          throw new ImageException(
              file,
              "the kernel in it can't be unpacked, as "
                  + compression
                  + ": "
                  + (e.getMessage() == null ? e.toString() : e.getMessage()),
              "Copy or install it again, or name the vmlinux it was made from",
              e);
        }
        if (boot.isPresent()) {
          return image(
              out.bytes(), boot.get().format(), Optional.of(compression), boot.get().loadable());
        }
        return plain(out.bytes(), Optional.of(compression), Optional.empty());
      }
    }

    private KernelImage image(
        MemorySegment bytes,
        Format format,
        Optional<Compression> compression,
        Optional<String> loadable)
        throws ImageException {
      try {
        Code code = Code.of(bytes);
        String banner =
            code.banner()
                .orElseThrow(
                    () ->
                        new IOException(
                            "nothing in it says \"Linux version\", as every Linux kernel does"));
        return new KernelImage(
            file,
            format,
            compression,
            code.architecture(),
            loadable,
            banner,
            code.abi(),
            code.config());
      } catch (IOException | IndexOutOfBoundsException e) {
        throw new ImageException(
            file,
            "it is no kernel, or a damaged one: " + e.getMessage(),
            "Name a bzImage (on most systems /boot/vmlinuz-RELEASE) or a vmlinux",
            e);
      }
    }
  }
}
