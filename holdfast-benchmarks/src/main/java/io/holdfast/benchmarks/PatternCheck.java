package io.holdfast.benchmarks;

import java.util.List;

/** What looking at the guest's pattern showed. */
public sealed interface PatternCheck {
  /** Whether the memory is what the guest wrote. */
  boolean good();

  /**
   * Every page is what the guest wrote last.
   *
   * @param pages how many
   * @param rewrites how often the guest had rewritten one, when the last page was read
   */
  record Right(long pages, long rewrites) implements PatternCheck {
    @Override
    public boolean good() {
      return true;
    }
  }

  /**
   * Every page is what the guest wrote last, but the one that it is rewriting is half done: of the
   * new generation before {@code word}, of the old one from there on. That is as it should be when
   * the VM was stopped in the middle.
   *
   * @param pages how many there are
   * @param rewrites how often the guest had rewritten one
   * @param page which one is half done
   * @param word the first word of the old generation
   */
  record Torn(long pages, long rewrites, long page, int word) implements PatternCheck {
    @Override
    public boolean good() {
      return true;
    }
  }

  /**
   * Memory is not what the guest wrote last.
   *
   * @param faults what is wrong, never empty; the first {@link #MOST}
   * @param count how many there are
   */
  record Wrong(List<Fault> faults, long count) implements PatternCheck {
    /** How many faults are listed at most. */
    public static final int MOST = 64;

    /** Copies the list. */
    public Wrong {
      faults = List.copyOf(faults);
    }

    @Override
    public boolean good() {
      return false;
    }
  }

  /**
   * One wrong page.
   *
   * @param page its number in the pattern
   * @param what what is wrong with it, for people
   */
  record Fault(long page, String what) {}
}
