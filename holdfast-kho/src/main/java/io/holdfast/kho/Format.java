package io.holdfast.kho;

import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * The formats that can be read: every version of every part, side by side. A kernel accepts state
 * of exactly the version that it knows, so what is not in this table is refused by its name.
 */
public enum Format {
  /** The state tree, the preserved-memory map as a radix tree, lists of vmalloc's chunks. */
  KHO_V4(Part.KHO, "kho-v4", "include/linux/kho/abi/kexec_handover.h"),
  /** The orchestrator's state as a structure: sessions and files in serialization blocks. */
  LUO_V5(Part.LUO, "luo-v5", "include/linux/kho/abi/luo.h, block.h"),
  /** A memfd's position, size, seals and folios. */
  MEMFD_V2(Part.MEMFD, "memfd-v2", "include/linux/kho/abi/memfd.h"),
  /** The tree of regions that the boot parameter {@code reserve_mem} reserved. */
  MEMBLOCK_V1(Part.MEMBLOCK, "memblock-v1", "include/linux/kho/abi/memblock.h"),
  /** One such region. */
  RESERVE_MEM_V1(Part.RESERVE_MEM, "reserve-mem-v1", "include/linux/kho/abi/memblock.h"),
  /** Which kernel went before, and how many. */
  KEXEC_METADATA_1(Part.KEXEC_METADATA, "1", "include/linux/kho/abi/kexec_metadata.h");

  /** What has versions of its own. */
  public enum Part {
    /** Kexec HandOver itself. */
    KHO,
    /** The Live Update Orchestrator. */
    LUO,
    /** Memfds. */
    MEMFD,
    /** Reserved regions. */
    MEMBLOCK,
    /** A reserved region. */
    RESERVE_MEM,
    /** About the kernels before. */
    KEXEC_METADATA
  }

  /** The releases whose sources were read; both write every one of these, byte for byte. */
  private static final List<String> KERNELS = List.of("7.2", "7.3");

  private final Part part;
  private final String version;
  private final String source;

  Format(Part part, String version, String source) {
    this.part = part;
    this.version = version;
    this.source = source;
  }

  /** What it is a version of. */
  public Part part() {
    return part;
  }

  /** The version as it stands in memory. */
  public String version() {
    return version;
  }

  /** The headers of the kernel's source that define it. */
  public String source() {
    return source;
  }

  /** The Linux releases that were seen to write it. */
  public List<String> kernels() {
    return KERNELS;
  }

  /** A format by what stands in memory; empty if it is not known. */
  public static Optional<Format> find(Part part, String version) {
    return Arrays.stream(values())
        .filter(each -> each.part == part && each.version.equals(version))
        .findFirst();
  }

  /** What can be read of a part, for messages. */
  static String known(Part part) {
    return Arrays.stream(values())
        .filter(each -> each.part == part)
        .map(each -> each.version + " (Linux " + String.join(", ", each.kernels()) + ")")
        .collect(Collectors.joining(" or "));
  }
}
