package io.holdfast.benchmarks;

import java.util.Optional;

/**
 * What the guest's pattern pages must hold ({@code guest/README.md}, "Pattern"), given how many
 * rewrites are done.
 *
 * @param boot the boot id
 * @param pages how many pages there are, above 0 (N)
 */
record Pattern(long boot, long pages) {
  private static final int BEGIN = 3;
  private static final int FIRST = 4;
  private static final int END = GuestFormat.PAGE_WORDS - 1;

  /** How a page compares with what it must be. */
  sealed interface Look {
    /** As it must be. */
    enum Whole implements Look {
      WHOLE
    }

    /** Of the new generation before {@code word}, of the old one from there on. */
    record Half(int word) implements Look {}

    /** Anything else. */
    record Bad(String what) implements Look {}
  }

  /** The page that is being rewritten, or is next, after {@code rewrites} rewrites. */
  long inFlight(long rewrites) {
    return rewrites % pages;
  }

  /** The generation that page {@code index} has after {@code rewrites} rewrites, if it rests. */
  long generation(long index, long rewrites) {
    return 1 + rewrites / pages + (index < rewrites % pages ? 1 : 0);
  }

  /** Compares a page at rest. */
  Look atRest(long index, long rewrites, long[] page) {
    long expected = generation(index, rewrites);
    return atRestIn(index, expected, page);
  }

  /** Compares the page in flight, of which {@code page} is a copy made in one moment. */
  Look inFlight(long rewrites, long[] page) {
    long index = inFlight(rewrites);
    long old = generation(index, rewrites);
    Optional<String> head = wrongHead(index, page);
    if (head.isPresent()) {
      return new Look.Bad(head.get());
    }
    if (page[BEGIN] == old) {
      return atRestIn(index, old, page); // not begun: nothing may be new
    }
    if (page[BEGIN] != old + 1) {
      return otherGeneration(index, old, page);
    }
    long before = GuestFormat.pageSeed(boot, index, old);
    long after = GuestFormat.pageSeed(boot, index, old + 1);
    int w = FIRST;
    while (w < END && page[w] == GuestFormat.word(after, w)) {
      w++;
    }
    if (w == END && page[END] == old + 1) {
      return Look.Whole.WHOLE;
    }
    int torn = w;
    while (w < END && page[w] == GuestFormat.word(before, w)) {
      w++;
    }
    return w == END && page[END] == old
        ? new Look.Half(torn)
        : new Look.Bad(
            "being rewritten, but word "
                + w
                + " is neither the new generation's nor the old one's");
  }

  private Look atRestIn(long index, long generation, long[] page) {
    Optional<String> head = wrongHead(index, page);
    if (head.isPresent()) {
      return new Look.Bad(head.get());
    }
    int w = firstDifference(index, generation, page);
    if (w < 0) {
      return Look.Whole.WHOLE;
    }
    if (page[BEGIN] == generation && page[END] == generation) {
      return new Look.Bad("word " + w + " is not that of generation " + generation);
    }
    return otherGeneration(index, generation, page);
  }

  private Look otherGeneration(long index, long expected, long[] page) {
    long found = page[BEGIN];
    if (found != page[END]) {
      return new Look.Bad(
          "begins as generation %d, ends as %d, should be %d"
              .formatted(found, page[END], expected));
    }
    return new Look.Bad(
        firstDifference(index, found, page) < 0
            ? "well formed, but of generation %d where it should be %d: memory went %s"
                .formatted(found, expected, found < expected ? "back" : "ahead")
            : "of no generation, should be " + expected);
  }

  private Optional<String> wrongHead(long index, long[] page) {
    if (page[0] != GuestFormat.magic(GuestFormat.PATTERN) || page[1] != boot) {
      return Optional.of("no pattern page of this boot any more");
    }
    return page[2] == index ? Optional.empty() : Optional.of("says that it is page " + page[2]);
  }

  /** The first word that is not that generation's, or -1. */
  private int firstDifference(long index, long generation, long[] page) {
    if (page[BEGIN] != generation) {
      return BEGIN;
    }
    long seed = GuestFormat.pageSeed(boot, index, generation);
    for (int w = FIRST; w < END; w++) {
      if (page[w] != GuestFormat.word(seed, w)) {
        return w;
      }
    }
    return page[END] == generation ? -1 : END;
  }
}
