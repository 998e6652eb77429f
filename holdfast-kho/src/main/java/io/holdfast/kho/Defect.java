package io.holdfast.kho;

/**
 * Something in a handover that is not as its format has it.
 *
 * @param rule what is broken
 * @param address the physical address of what is wrong, or of what contains it
 * @param where what that is, such as {@code session "web", file 7}
 * @param found what is there
 * @param expected what should be
 */
public record Defect(Rule rule, long address, String where, String found, String expected) {
  /** What can be broken. */
  public enum Rule {
    /** The state tree, or a sub-tree that should be one, is no flattened device tree. */
    NO_TREE,
    /** A version that is not in {@link Format}. */
    UNKNOWN_VERSION,
    /** A property that is missing, or has another size. */
    PROPERTY,
    /** An address that should be a page's and is not aligned to one. */
    UNALIGNED,
    /** An address of something that is not in the machine's memory. */
    OUTSIDE_MEMORY,
    /** A node of the map that is reached twice: shared, or a cycle. */
    NODE_TWICE,
    /** A node of the map in a scratch area, which the next kernel overwrites. */
    NODE_IN_SCRATCH,
    /** A node of the map that is itself a preserved page. */
    NODE_PRESERVED,
    /** A key that stands for no page. */
    KEY,
    /** A preserved page that is not in the machine's memory. */
    PAGE_OUTSIDE_MEMORY,
    /** A page that is preserved twice, in blocks of different orders. */
    PAGE_TWICE,
    /** A preserved page in a scratch area. */
    PAGE_IN_SCRATCH,
    /** A scratch area that can't be one. */
    SCRATCH,
    /** Something that is handed over in memory that is not preserved. */
    NOT_PRESERVED,
    /** Preserved memory that two things have. */
    CLAIMED_TWICE,
    /** A list that comes back to where it was. */
    CYCLE,
    /** A count that is absurd, or not what there is. */
    COUNT,
    /** Something that is too short for what should be in it. */
    TOO_SHORT,
    /** A name that is none. */
    NAME,
    /** A name or token that is there twice. */
    NAME_TWICE,
    /** A folio that is not at the place of the file where it has to be. */
    FOLIO_PLACE,
    /** Bits that mean nothing. */
    FLAGS,
    /** A value that makes no sense. */
    VALUE
  }

  /** All of it on one line. */
  @Override
  public String toString() {
    return "%s at 0x%x: %s: %s; expected: %s".formatted(rule, address, where, found, expected);
  }
}
