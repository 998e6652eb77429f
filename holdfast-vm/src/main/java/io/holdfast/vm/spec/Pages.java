package io.holdfast.vm.spec;

import io.holdfast.linux.MemfdOption;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/** The pages that guest RAM is made of. */
public enum Pages {
  /** What the kernel gives to everybody: 4 KiB. */
  SMALL("", 0),
  /** Huge where the kernel finds room. */
  TRANSPARENT("transparent", 0),
  /** Reserved ones of 2 MiB (hugetlb). */
  HUGE_2M("2M", 2L << 20),
  /** Reserved ones of 1 GiB (hugetlb). */
  HUGE_1G("1G", 1L << 30);

  private final String word;
  private final long bytes;

  Pages(String word, long bytes) {
    this.word = word;
    this.bytes = bytes;
  }

  /** The ones that users call so; empty if there are none. */
  public static Optional<Pages> of(String word) {
    for (Pages pages : values()) {
      if (!pages.word.isEmpty() && pages.word.equals(word)) {
        return Optional.of(pages);
      }
    }
    return Optional.empty();
  }

  /** Whether they are set aside beforehand, and so not taken from the memory that is free. */
  public boolean reserved() {
    return bytes > 0;
  }

  /** How a memfd of them is made; empty if that takes no option. */
  public Optional<MemfdOption> option() {
    return switch (this) {
      case SMALL, TRANSPARENT -> Optional.empty();
      case HUGE_2M -> Optional.of(MemfdOption.HUGE_2M);
      case HUGE_1G -> Optional.of(MemfdOption.HUGE_1G);
    };
  }

  /**
   * Why guest RAM can't be made of them, if so.
   *
   * @param memory guest RAM in bytes
   */
  public Optional<String> lacking(long memory) throws IOException {
    if (!reserved()) {
      return Optional.empty();
    }
    if (memory % bytes != 0) {
      return Optional.of(
          "the guest's RAM of %d MiB is no multiple of %s; take one, or smaller pages"
              .formatted(memory >> 20, word));
    }
    Path pool = Path.of("/sys/kernel/mm/hugepages/hugepages-" + bytes / 1024 + "kB");
    if (!Files.isDirectory(pool)) {
      return Optional.of("this kernel has no pages of " + word);
    }
    long free = number(pool.resolve("free_hugepages")) - number(pool.resolve("resv_hugepages"));
    long needed = memory / bytes;
    return free >= needed
        ? Optional.empty()
        : Optional.of(
            "%d pages of %s are needed, and %d are free; as root: echo %d > %s/nr_hugepages"
                .formatted(
                    needed,
                    word,
                    free,
                    number(pool.resolve("nr_hugepages")) + needed - free,
                    pool));
  }

  private static long number(Path file) throws IOException {
    return Long.parseLong(Files.readString(file, StandardCharsets.US_ASCII).strip());
  }
}
