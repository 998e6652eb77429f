package io.holdfast.kho.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(value = 2, unit = TimeUnit.MINUTES)
class KernelImageTest {

  @TempDir Path folder;

  // What every compression gives back.

  @ParameterizedTest
  @ValueSource(
      strings = {
        "gzip -n -9",
        "gzip -1",
        "bzip2 -9",
        "bzip2 -1",
        "lzma -9",
        "xz --check=crc32 --x86 --lzma2=dict=32MiB",
        "xz -0 --check=crc64",
        "lzop -9",
        "lzop -1",
        "lzop -3 --crc32",
        "lz4 -l -9",
        "lz4 -l -1",
        "zstd -22 --ultra",
        "zstd -19",
        "zstd -3",
        "zstd -1 --no-check",
        "zstd --fast=5"
      })
  @Promise("kernel-images")
  void unpacksWhatTheKernelsBuildPacks(String command) throws IOException, ImageException {
    FakeKernel kernel = FakeKernel.good().noise(3_000_000);
    String[] words = command.split(" ");
    Optional<byte[]> packed = FakeKernel.packed(folder, kernel.vmlinux(), words);
    assumeTrue(packed.isPresent(), "there is no " + words[0] + " on this machine");
    unpacksTo(packed.get(), kernel.vmlinux(), words[0]);
    Path file = folder.resolve("bzImage");
    Files.write(file, kernel.bzImage(packed.get(), !words[0].equals("gzip")));
    KernelImage image = KernelImage.read(file);
    assertThat(image.format()).isEqualTo(KernelImage.Format.BZIMAGE);
    assertThat(image.compression()).contains(compression(words[0]));
    understood(image);
  }

  private static Compression compression(String program) {
    return switch (program) {
      case "gzip" -> Compression.GZIP;
      case "lzop" -> Compression.LZO;
      default -> Compression.valueOf(program.toUpperCase(java.util.Locale.ROOT));
    };
  }

  private static void understood(KernelImage image) {
    assertThat(image.release()).isEqualTo(FakeKernel.RELEASE);
    assertThat(image.banner()).isEqualTo(FakeKernel.BANNER);
    assertThat(image.architecture()).isEqualTo(Architecture.X86_64);
    assertThat(image.abi().kho()).containsExactly("kho-v4");
    assertThat(image.abi().luo()).containsExactly("luo-v5");
    assertThat(image.abi().handlers()).containsExactly("memfd-v2");
    assertThat(image.has("KEXEC_HANDOVER")).contains(true);
    assertThat(image.has("LIVEUPDATE")).contains(false);
  }

  private static void unpacksTo(byte[] packed, byte[] expected, String program) throws IOException {
    try (Output out = new Output(1 << 28, 0)) {
      compression(program).decompress(MemorySegment.ofArray(packed), 0, out);
      assertThat(Arrays.equals(out.bytes().toArray(ValueLayout.JAVA_BYTE), expected))
          .as("what came out is what went in")
          .isTrue();
    }
  }

  /**
   * Shapes that take a decoder's rare paths: nothing, runs, no repetition, sizes around its blocks.
   */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "gzip",
        "bzip2",
        "lzma",
        "xz",
        "lzop",
        "lzop -9",
        "lz4 -l",
        "zstd",
        "zstd -19",
        "zstd --fast=9"
      })
  @Promise("kernel-images")
  void unpacksAnyContent(String command) throws IOException {
    String[] words = command.split(" ");
    Random random = new Random(7);
    List<byte[]> contents = new ArrayList<>();
    contents.add(new byte[1]);
    contents.add(new byte[1_000_000]);
    for (int size : new int[] {5, 255, 65_535, 131_072, 131_073, 300_000}) {
      contents.add(FakeKernel.content(size));
      byte[] wild = new byte[size];
      random.nextBytes(wild);
      contents.add(wild);
      byte[] few = new byte[size];
      for (int i = 0; i < size; i++) {
        few[i] = (byte) "etaoin ".charAt(Math.min(6, (int) Math.abs(random.nextGaussian() * 3)));
      }
      contents.add(few);
    }
    for (byte[] content : contents) {
      Optional<byte[]> packed = FakeKernel.packed(folder, content, words);
      assumeTrue(packed.isPresent(), "there is no " + words[0] + " on this machine");
      unpacksTo(packed.get(), content, words[0]);
    }
  }

  // Files that are no boot image.

  @Test
  @Promise("kernel-images")
  void readsAVmlinuxPackedOrNot() throws IOException, ImageException {
    byte[] vmlinux = FakeKernel.good().vmlinux();
    KernelImage bare = KernelImage.read(Files.write(folder.resolve("vmlinux"), vmlinux));
    assertThat(bare.format()).isEqualTo(KernelImage.Format.VMLINUX);
    assertThat(bare.compression()).isEmpty();
    understood(bare);
    assertThat(bare.loadable()).hasValueSatisfying(why -> assertThat(why).contains("bzImage"));
    KernelImage packed =
        KernelImage.read(Files.write(folder.resolve("vmlinux.gz"), FakeKernel.gzip(vmlinux)));
    assertThat(packed.format()).isEqualTo(KernelImage.Format.VMLINUX);
    assertThat(packed.compression()).contains(Compression.GZIP);
    understood(packed);
  }

  @Test
  @Promise("kernel-images")
  void readsImagesOfOtherMachines() throws IOException, ImageException {
    byte[] raw = Arrays.copyOf("MZ".getBytes(java.nio.charset.StandardCharsets.US_ASCII), 100_000);
    ByteBuffer.wrap(raw).order(ByteOrder.LITTLE_ENDIAN).putInt(56, 0x644d5241);
    byte[] strings =
        ("\0" + FakeKernel.BANNER + "\n\0kho-v4\0luo-v5\0memfd-v2\0")
            .getBytes(java.nio.charset.StandardCharsets.US_ASCII);
    System.arraycopy(strings, 0, raw, 5000, strings.length);
    KernelImage image = KernelImage.read(Files.write(folder.resolve("Image"), raw));
    assertThat(image.architecture()).isEqualTo(Architecture.ARM64);
    assertThat(image.format()).isEqualTo(KernelImage.Format.RAW);
    assertThat(image.abi().handlers()).containsExactly("memfd-v2");
    byte[] packed = FakeKernel.gzip(raw);
    ByteBuffer zboot = ByteBuffer.allocate(512 + packed.length).order(ByteOrder.LITTLE_ENDIAN);
    zboot.put((byte) 'M').put((byte) 'Z').putInt(4, 0x676d697a).putInt(8, 512);
    zboot.putInt(12, packed.length).position(512).put(packed);
    KernelImage unpacking = KernelImage.read(Files.write(folder.resolve("zboot"), zboot.array()));
    assertThat(unpacking.architecture()).isEqualTo(Architecture.ARM64);
    assertThat(unpacking.format()).isEqualTo(KernelImage.Format.ZBOOT);
    assertThat(unpacking.loadable()).isPresent();
    KernelImage x86 = FakeKernel.good().machine(3).read(folder);
    assertThat(x86.architecture()).isEqualTo(Architecture.X86_32);
  }

  // What counts as a format's version, and what does not.

  @Test
  @Promise("kernel-images")
  void onlyWholeStringsThatAreLoadedCount() throws IOException, ImageException {
    // The fake has kho-v9 in a sentence, xkho-v8, kho-v7x, and kho-v6 in a part that is not loaded.
    KernelImage image = FakeKernel.speaking("kho-v4").read(folder);
    assertThat(image.abi().kho()).containsExactly("kho-v4");
    assertThat(image.abi().luo()).isEmpty();
    assertThat(image.abi().handlers()).isEmpty();
    KernelImage none = FakeKernel.speaking().read(folder);
    assertThat(none.abi().kho()).isEmpty();
  }

  @Test
  @Promise("kernel-images")
  void severalVersionsMayStandSideBySide() throws IOException, ImageException {
    KernelImage image =
        FakeKernel.speaking("kho-v3", "kho-v4", "luo-v12", "luo-session-v2", "luo-flb-v1")
            .read(folder);
    assertThat(image.abi().kho()).containsExactly("kho-v3", "kho-v4");
    assertThat(image.abi().luo()).containsExactly("luo-flb-v1", "luo-session-v2", "luo-v12");
  }

  @Test
  @Promise("kernel-images")
  void anyHandlerThatIsRegisteredCounts() throws IOException, ImageException {
    // "some-driver-v3" is in the fake as a string by itself.
    KernelImage image = FakeKernel.good().handler("vfio-pci-v1").handler("iommufd-v3").read(folder);
    assertThat(image.abi().handlers()).containsExactly("iommufd-v3", "memfd-v2", "vfio-pci-v1");
  }

  @Test
  @Promise("kernel-images")
  void whereItCanBeLoadedIsInTheHeader() throws IOException, ImageException {
    assertThat(FakeKernel.good().read(folder).loadable()).isEmpty();
    assertThat(FakeKernel.good().xloadflags(1).read(folder).loadable())
        .hasValueSatisfying(why -> assertThat(why).contains("CONFIG_RELOCATABLE"));
    assertThat(FakeKernel.good().xloadflags(2).read(folder).loadable())
        .hasValueSatisfying(why -> assertThat(why).contains("64-bit"));
  }

  // What can't be read.

  @Test
  @Promise("kernel-images")
  void whatIsNoKernelIsNamed() throws IOException {
    refused(folder, "it is a directory", "vmlinuz");
    refused(folder.resolve("absent"), "there is no such file", "Check the path");
    refused(Files.createFile(folder.resolve("empty")), "it is no kernel", "bzImage");
    refused(
        Files.writeString(folder.resolve("text"), "Linux version 7.3.4 (a)\n".repeat(100)),
        "it is no kernel",
        "bzImage");
    byte[] program = FakeKernel.good().banner("Windows version 3").vmlinux();
    refused(Files.write(folder.resolve("elf"), program), "Linux version", "bzImage");
    byte[] efi = Arrays.copyOf(new byte[] {'M', 'Z'}, 4096);
    refused(Files.write(folder.resolve("efi"), efi), "EFI program", "objcopy");
    refused(Path.of("/dev/zero"), "no regular file", "Name the kernel's file");
  }

  private static void refused(Path file, String problem, String advice) {
    assertThatThrownBy(() -> KernelImage.read(file))
        .isInstanceOf(ImageException.class)
        .hasMessageStartingWith("reading the kernel image " + file + ": ")
        .hasMessageContaining(problem)
        .hasMessageContaining(advice);
  }

  @Test
  @Promise("kernel-images")
  void whatMayNotBeReadIsNamed() throws IOException {
    Path file = FakeKernel.good().write(folder.resolve("secret"));
    Files.setPosixFilePermissions(file, java.util.Set.of());
    assumeTrue(!Files.isReadable(file), "root may read everything");
    refused(file, "it may not be read", "root");
  }

  @Test
  @Promise("kernel-images")
  void aBootImageThatWasCutOffAnywhereIsRefused() throws IOException {
    byte[] image = FakeKernel.good().noise(5000).bzImage();
    Path file = folder.resolve("cut");
    for (int size = 0; size < image.length; size += 97) {
      Files.write(file, Arrays.copyOf(image, size));
      assertThatThrownBy(() -> KernelImage.read(file)).isInstanceOf(ImageException.class);
    }
    Files.write(file, Arrays.copyOf(image, image.length - 100));
    refused(file, "it was cut off", "Copy or install it again");
  }

  /** Damage is found by a checksum or makes no difference; it never ends in anything else. */
  @ParameterizedTest
  @ValueSource(strings = {"gzip", "bzip2", "lzma", "xz", "lzop", "lz4 -l", "zstd", "zstd -19"})
  @Promise("kernel-images")
  void damagedDataIsRefusedOrRead(String command) throws IOException {
    String[] words = command.split(" ");
    FakeKernel kernel = FakeKernel.good().noise(30_000);
    Optional<byte[]> packed = FakeKernel.packed(folder, kernel.vmlinux(), words);
    assumeTrue(packed.isPresent(), "there is no " + words[0] + " on this machine");
    byte[] sound = kernel.bzImage(packed.get(), !words[0].equals("gzip"));
    Path file = folder.resolve("damaged");
    Random random = new Random(11);
    int refused = 0;
    for (int round = 0; round < 200; round++) {
      byte[] damaged = sound.clone();
      for (int i = random.nextInt(4); i >= 0; i--) {
        damaged[random.nextInt(0xa00 + 64, damaged.length)] ^= (byte) (1 << random.nextInt(8));
      }
      Files.write(file, damaged);
      try {
        KernelImage.read(file, 16 << 20);
      } catch (ImageException e) {
        refused++;
      }
    }
    assertThat(refused).as("of 200").isGreaterThan(words[0].equals("lz4") ? 10 : 150);
  }

  @Test
  @Promise("kernel-images")
  void damagedHeadersAreRefusedOrRead() throws IOException {
    byte[] sound = FakeKernel.good().noise(3000).vmlinux();
    Path file = folder.resolve("damaged");
    Random random = new Random(12);
    for (int round = 0; round < 2000; round++) {
      byte[] damaged = sound.clone();
      for (int i = random.nextInt(8); i >= 0; i--) {
        damaged[random.nextInt(200)] = (byte) random.nextInt(256);
      }
      Files.write(file, damaged);
      try {
        KernelImage.read(file);
      } catch (ImageException e) {
        assertThat(e.file()).isEqualTo(file);
      }
    }
  }

  /** A few bytes that stand for more than a kernel has: stopped at the limit. */
  @ParameterizedTest
  @ValueSource(strings = {"gzip", "bzip2", "lzma", "xz", "lzop", "lz4 -l", "zstd -19"})
  @Promise("kernel-images")
  void whatUnpacksToTooMuchIsStopped(String command) throws IOException {
    String[] words = command.split(" ");
    Optional<byte[]> packed = FakeKernel.packed(folder, new byte[40 << 20], words);
    assumeTrue(packed.isPresent(), "there is no " + words[0] + " on this machine");
    Path file = folder.resolve("bomb");
    Files.write(file, FakeKernel.good().bzImage(packed.get(), true));
    assertThatThrownBy(() -> KernelImage.read(file, 8 << 20))
        .isInstanceOf(ImageException.class)
        .hasMessageContaining("more than 8 MiB come out of it");
  }

  /** What would take hours or all of the heap to look through, was it not limited. */
  @Test
  @Promise("kernel-images")
  void whatWouldTakeForEverToSearchIsStopped() throws IOException, ImageException {
    byte[] vmlinux = FakeKernel.good().noise(4 << 20).vmlinux();
    ByteBuffer elf = ByteBuffer.wrap(vmlinux).order(ByteOrder.LITTLE_ENDIAN);
    // The same segment again and again, by headers of which each lies over the one before.
    byte[] header = Arrays.copyOfRange(vmlinux, 120, 176);
    for (int i = 1; i < 70; i++) {
      elf.put(64 + 56 * i, header);
    }
    elf.putShort(56, (short) 70);
    refused(Files.write(folder.resolve("overlapping"), vmlinux), "overlap", "bzImage");
    String[] many = new String[200_000];
    for (int i = 0; i < many.length; i++) {
      many[i] = "Linux version 1." + i + "\n";
    }
    byte[] banners = FakeKernel.speaking(many).vmlinux();
    KernelImage image = KernelImage.read(Files.write(folder.resolve("banners"), banners));
    assertThat(image.banner()).isEqualTo(FakeKernel.BANNER);
    FakeKernel handlers = FakeKernel.good();
    for (int i = 0; i < 1001; i++) {
      FakeKernel unused = handlers.handler("h" + i + "-v1");
      assertThat(unused).isSameAs(handlers);
    }
    refused(
        Files.write(folder.resolve("handlers"), handlers.vmlinux()),
        "more than 1000 handlers",
        "bzImage");
  }

  @ParameterizedTest
  @ValueSource(strings = {"xz -9", "lzma -9"})
  @Promise("kernel-images")
  void whatTakesMoreHeapThanThereIsIsNamed(String command) throws IOException {
    String[] words = command.split(" ");
    Optional<byte[]> packed = FakeKernel.packed(folder, new byte[1000], words);
    assumeTrue(packed.isPresent(), "there is no " + words[0] + " on this machine");
    try (Output out = new Output(1 << 20, 0)) {
      assertThatThrownBy(
              () ->
                  compression(words[0])
                      .decompress(MemorySegment.ofArray(packed.get()), 0, out, 8192))
          .isInstanceOf(IOException.class)
          .hasMessageMatching("unpacking it takes 6\\d MiB of Java heap and there are 8 .*-Xmx.*");
    }
  }

  @Test
  @Promise("kernel-images")
  void whatIsPackedWithSomethingUnknownIsNamed() throws IOException {
    Path file = folder.resolve("unknown");
    Files.write(file, FakeKernel.good().bzImage(new byte[1000], false));
    refused(file, "none of gzip, bzip2, lzma, xz, lzo, lz4 and zstd", "vmlinux");
  }

  // Real kernels.

  @Test
  @Promise("kernel-images")
  void readsTheTestbedsKernel() throws IOException, ImageException {
    Path kernel = RealKernels.testbed();
    KernelImage image = KernelImage.read(kernel.resolve("bzImage"));
    assertThat(image.release()).isEqualTo(Files.readString(kernel.resolve("release")).strip());
    assertThat(image.architecture()).isEqualTo(Architecture.X86_64);
    assertThat(image.loadable()).isEmpty();
    assertThat(image.abi().kho()).hasSize(1).allMatch(name -> name.matches("kho-v\\d+"));
    assertThat(image.abi().luo()).hasSize(1).allMatch(name -> name.matches("luo-v\\d+"));
    assertThat(image.abi().handlers()).hasSize(1).allMatch(name -> name.matches("memfd-v\\d+"));
    assertThat(image.config())
        .contains(KernelConfig.parse(Files.readString(kernel.resolve("config"))));
    KernelImage vmlinux = KernelImage.read(kernel.resolve("vmlinux"));
    assertThat(vmlinux.abi()).isEqualTo(image.abi());
    assertThat(vmlinux.banner()).isEqualTo(image.banner());
    namesItsBuild(image);
  }

  @Test
  @Promise("kernel-images")
  void readsDebiansKernel() throws ImageException {
    Path file = RealKernels.debian();
    KernelImage image = KernelImage.read(file);
    assertThat(image.format()).isEqualTo(KernelImage.Format.BZIMAGE);
    assertThat(image.banner()).contains("debian");
    namesItsBuild(image);
    assertThat(image.architecture()).isEqualTo(Architecture.X86_64);
    assertThat(image.loadable()).isEmpty();
    assertThat(image.abi())
        .isEqualTo(new KernelAbi(new TreeSet<>(), new TreeSet<>(), new TreeSet<>()));
  }

  /** The boot image's header ends as /proc/version does: with the build's number and time. */
  private static void namesItsBuild(KernelImage image) {
    String header = KernelImage.headerVersion(image.file()).orElseThrow();
    assertThat(header).startsWith(image.release() + " ").contains(") #");
    assertThat(image.banner()).endsWith(header.substring(header.indexOf(") #")));
  }
}
