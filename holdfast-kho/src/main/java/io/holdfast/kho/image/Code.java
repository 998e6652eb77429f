package io.holdfast.kho.image;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.function.LongPredicate;
import java.util.regex.Pattern;
import java.util.zip.GZIPInputStream;

/**
 * A kernel's code and data as it is loaded: what an image holds once it is unpacked. An ELF file's
 * segments, so that debugging information and other notes are not taken for the kernel's own; all
 * of anything else.
 */
final class Code {
  private static final ValueLayout.OfShort U16 =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt U32 =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong U64 =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final int WINDOW = 1 << 20;
  private static final Pattern BUILD_NUMBER = Pattern.compile("\\) #[0-9]");
  private static final int MAX_NAME = 47;
  private static final int MAX_BANNER = 1024;
  private static final int MAX_BANNERS = 16; // a kernel has two
  private static final int MAX_HANDLERS = 1000; // it has one or two
  private static final int MAX_CONFIG = 8 << 20;
  // struct liveupdate_file_handler and struct liveupdate_flb (include/linux/liveupdate.h): a
  // pointer to
  // their operations, and a name in 48 bytes.
  private static final int COMPATIBLE_SIZE = 48;

  private final MemorySegment bytes;
  private final Architecture architecture;
  private final boolean addresses;
  private final List<Segment> segments;

  /**
   * A part that is loaded.
   *
   * @param start where it begins in the file
   * @param size its bytes in the file
   * @param address where it is loaded to, in the kernel's own addresses
   */
  private record Segment(long start, long size, long address) {}

  private Code(
      MemorySegment bytes, Architecture architecture, boolean addresses, List<Segment> segments) {
    this.bytes = bytes;
    this.architecture = architecture;
    this.addresses = addresses;
    this.segments = segments;
  }

  static boolean isElf(MemorySegment bytes) {
    return bytes.byteSize() >= 64 && bytes.get(U32, 0) == 0x464c457f;
  }

  /** The architecture that a raw image for arm64 or riscv names in its header; empty for others. */
  static Optional<Architecture> ofRaw(MemorySegment bytes) {
    if (bytes.byteSize() < 64) {
      return Optional.empty();
    }
    return switch (bytes.get(U32, 56)) {
      case 0x644d5241 -> Optional.of(Architecture.ARM64); // "ARM" and 0x64
      case 0x05435352 -> Optional.of(Architecture.RISCV); // "RSC" and 5
      default -> Optional.empty();
    };
  }

  /**
   * @throws IOException it is neither, or damaged
   */
  static Code of(MemorySegment bytes) throws IOException {
    if (!isElf(bytes)) {
      Architecture architecture =
          ofRaw(bytes)
              .orElseThrow(
                  () -> new IOException("it is neither an ELF file nor a raw image of a kernel"));
      return new Code(bytes, architecture, false, List.of(new Segment(0, bytes.byteSize(), 0)));
    }
    if (bytes.get(ValueLayout.JAVA_BYTE, 5) != 1) {
      throw new IOException("it is an ELF file of a big-endian machine");
    }
    Architecture architecture = Architecture.ofElf(bytes.get(U16, 18) & 0xffff);
    boolean wide = bytes.get(ValueLayout.JAVA_BYTE, 4) == 2;
    long headers = wide ? bytes.get(U64, 32) : bytes.get(U32, 28) & 0xffffffffL;
    int size = bytes.get(U16, wide ? 54 : 42) & 0xffff;
    int count = bytes.get(U16, wide ? 56 : 44) & 0xffff;
    int need = wide ? 56 : 32;
    if (headers < 0 || size < need || headers > bytes.byteSize() - (long) size * count) {
      throw new IOException("its ELF program headers lie outside of it");
    }
    List<Segment> segments = new ArrayList<>();
    long loaded = 0;
    for (int i = 0; i < count; i++) {
      long at = headers + (long) i * size;
      if (bytes.get(U32, at) != 1) {
        continue; // Not loaded.
      }
      long start = wide ? bytes.get(U64, at + 8) : bytes.get(U32, at + 4) & 0xffffffffL;
      long address = wide ? bytes.get(U64, at + 16) : bytes.get(U32, at + 8) & 0xffffffffL;
      long length = wide ? bytes.get(U64, at + 32) : bytes.get(U32, at + 16) & 0xffffffffL;
      if (start < 0
          || length < 0
          || length > bytes.byteSize()
          || start > bytes.byteSize() - length) {
        throw new IOException(
            "a part of it that is to be loaded lies outside of it: it was cut off");
      }
      segments.add(new Segment(start, length, address));
      loaded += length;
    }
    if (loaded > bytes.byteSize()) {
      // Otherwise thousands of headers could have all of a large file searched for each of them.
      throw new IOException("the parts of it that are to be loaded overlap");
    }
    return new Code(bytes, architecture, wide, segments);
  }

  Architecture architecture() {
    return architecture;
  }

  /**
   * The kernel's {@code linux_banner}, without its newline: "Linux version …". A draft of it
   * without the build's number and time is there as well, in front of it (init/version.c and
   * version-timestamp.c).
   */
  Optional<String> banner() {
    byte[] words = "Linux version ".getBytes(StandardCharsets.US_ASCII);
    List<String> banners = new ArrayList<>();
    for (Segment segment : segments) {
      each(
          segment,
          words,
          at -> {
            byte[] text = copy(segment, at, MAX_BANNER);
            int end = 0;
            while (end < text.length && text[end] != '\n' && text[end] != 0) {
              end++;
            }
            // Only what goes on with a release's digit: format strings begin so too.
            if (end > words.length
                && end < text.length
                && text[words.length] >= '0'
                && text[words.length] <= '9'
                && whole(segment, at)) {
              banners.add(new String(text, 0, end, StandardCharsets.UTF_8));
            }
            return banners.size() == MAX_BANNERS;
          });
    }
    return banners.stream()
        .filter(banner -> BUILD_NUMBER.matcher(banner).find())
        .findFirst()
        .or(() -> banners.stream().findFirst());
  }

  /**
   * The configuration that is built in (CONFIG_IKCONFIG): a gzip file behind a mark.
   *
   * @throws IOException it is damaged
   */
  Optional<KernelConfig> config() throws IOException {
    byte[] mark = "IKCFG_ST".getBytes(StandardCharsets.US_ASCII);
    List<byte[]> configurations = new ArrayList<>();
    for (Segment segment : segments) {
      each(
          segment,
          mark,
          at -> {
            byte[] magic = copy(segment, at + mark.length, 2);
            if (magic.length == 2 && magic[0] == 0x1f && magic[1] == (byte) 0x8b) {
              configurations.add(copy(segment, at + mark.length, MAX_CONFIG));
            }
            return !configurations.isEmpty();
          });
    }
    if (configurations.isEmpty()) {
      return Optional.empty();
    }
    try (GZIPInputStream text =
        new GZIPInputStream(new ByteArrayInputStream(configurations.getFirst()))) {
      byte[] read = text.readNBytes(MAX_CONFIG + 1);
      if (read.length > MAX_CONFIG) {
        throw new IOException("the configuration in it takes more than 8 MiB");
      }
      return Optional.of(KernelConfig.parse(new String(read, StandardCharsets.UTF_8)));
    }
  }

  /**
   * What it speaks: strings of the form NAME-vNUMBER. One of KHO, LUO or memfd counts where it is a
   * string by itself, of any other name where it stands in what registers a handler, since a kernel
   * is full of such strings that have nothing to do with this.
   *
   * @throws IOException it has more of them than any kernel
   */
  KernelAbi abi() throws IOException {
    SortedSet<String> kho = new TreeSet<>();
    SortedSet<String> luo = new TreeSet<>();
    SortedSet<String> handlers = new TreeSet<>();
    for (Segment segment : segments) {
      each(
          segment,
          new byte[] {'-', 'v'},
          at -> {
            Optional<Name> found = name(segment, at);
            if (found.isPresent()) {
              String name = found.get().text();
              switch (name.substring(0, name.lastIndexOf("-v"))) {
                case "kho" -> kho.add(name);
                case "luo" -> luo.add(name);
                case "memfd" -> handlers.add(name);
                case "luo-session", "luo-flb" -> luo.add(name); // The first releases had these.
                default -> {
                  if (registers(segment, found.get())) {
                    handlers.add(name);
                  }
                }
              }
            }
            return handlers.size() > MAX_HANDLERS;
          });
    }
    if (handlers.size() > MAX_HANDLERS) {
      throw new IOException("more than " + MAX_HANDLERS + " handlers are registered in it");
    }
    return new KernelAbi(kho, luo, handlers);
  }

  /** A string of the form NAME-vNUMBER, and where in its segment it begins. */
  private record Name(long start, String text) {}

  /** The whole string around "-v", if it has that form. */
  private Optional<Name> name(Segment segment, long at) {
    long from = Math.max(0, at - MAX_NAME);
    byte[] around = copy(segment, from, 2 * MAX_NAME);
    int mark = (int) (at - from);
    int end = mark + 2;
    while (end < around.length && around[end] >= '0' && around[end] <= '9') {
      end++;
    }
    int start = mark;
    while (start > 0 && nameByte(around[start - 1])) {
      start--;
    }
    boolean number = end > mark + 2 && end <= mark + 5;
    boolean ends = end < around.length && around[end] == 0;
    boolean begins = start > 0 ? !printable(around[start - 1]) : from == 0;
    if (!number || !ends || !begins || start == mark) {
      return Optional.empty();
    }
    return Optional.of(
        new Name(from + start, new String(around, start, end - start, StandardCharsets.US_ASCII)));
  }

  private static boolean nameByte(byte b) {
    return (b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b == '-' || b == '_';
  }

  private static boolean printable(byte b) {
    return b >= 0x20 && b < 0x7f;
  }

  /**
   * Whether the name stands where a handler's does: behind the address of a table of functions, and
   * alone in its 48 bytes.
   */
  private boolean registers(Segment segment, Name name) {
    if (!addresses || architecture != Architecture.X86_64 || name.start() < 8) {
      // Where addresses are only filled in when the kernel starts, they tell nothing.
      return false;
    }
    byte[] field = copy(segment, name.start(), COMPATIBLE_SIZE);
    if (field.length < COMPATIBLE_SIZE || name.text().length() >= COMPATIBLE_SIZE) {
      return false;
    }
    for (int i = name.text().length(); i < COMPATIBLE_SIZE; i++) {
      if (field[i] != 0) {
        return false;
      }
    }
    return at(bytes.get(U64, segment.start() + name.start() - 8), 24)
        .filter(table -> table != name.start() && functions(table))
        .isPresent();
  }

  /** Whether the first operations, which none can do without, are addresses in this kernel. */
  private boolean functions(long table) {
    for (int i = 0; i < 3; i++) {
      if (at(bytes.get(U64, table + 8L * i), 1).isEmpty()) {
        return false;
      }
    }
    return true;
  }

  /** Where in the file an address with {@code size} bytes behind it lies. */
  private Optional<Long> at(long address, long size) {
    for (Segment segment : segments) {
      long offset = address - segment.address();
      if (address < 0 && offset >= 0 && offset <= segment.size() - size) {
        return Optional.of(segment.start() + offset);
      }
    }
    return Optional.empty();
  }

  /** Whether nothing printable precedes: strings lie behind one another's final zeros. */
  private boolean whole(Segment segment, long at) {
    return at == 0 || !printable(bytes.get(ValueLayout.JAVA_BYTE, segment.start() + at - 1));
  }

  private byte[] copy(Segment segment, long at, int most) {
    byte[] copy = new byte[(int) Math.min(most, segment.size() - at)];
    MemorySegment.copy(bytes, ValueLayout.JAVA_BYTE, segment.start() + at, copy, 0, copy.length);
    return copy;
  }

  /**
   * Shows every place in the segment where {@code words} stand, until one is what was looked for.
   */
  private void each(Segment segment, byte[] words, LongPredicate found) {
    for (long at = 0; at <= segment.size() - words.length; at += WINDOW) {
      byte[] window = copy(segment, at, WINDOW + words.length - 1);
      for (int i = 0; i <= window.length - words.length; i++) {
        int same = 0;
        while (same < words.length && window[i + same] == words[same]) {
          same++;
        }
        if (same == words.length && found.test(at + i)) {
          return;
        }
      }
    }
  }
}
