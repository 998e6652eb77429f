package io.holdfast.benchmarks;

import java.util.List;

/** What looking at the guest's chain of records showed, on its console or its disk. */
public sealed interface ChainCheck {
  /** Whether the chain neither forks, repeats nor skips. */
  boolean good();

  /**
   * One guest wrote all of it, in one boot, one link after the other.
   *
   * @param boot the boot id
   * @param first number of the first link there
   * @param last number of the last link; 0 if there is none yet
   */
  record Unbroken(long boot, long first, long last) implements ChainCheck {
    @Override
    public boolean good() {
      return true;
    }
  }

  /**
   * It is not what one undisturbed guest writes.
   *
   * @param faults what is wrong, for people; never empty, the first {@link #MOST}
   * @param count how many there are
   */
  record Broken(List<String> faults, long count) implements ChainCheck {
    /** How many faults are listed at most. */
    public static final int MOST = 32;

    /** Copies the list. */
    public Broken {
      faults = List.copyOf(faults);
    }

    @Override
    public boolean good() {
      return false;
    }
  }
}
