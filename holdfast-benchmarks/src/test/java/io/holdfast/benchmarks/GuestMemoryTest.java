package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GuestMemoryTest {
  private static final long REWRITES = 3 * ForgedGuest.PAGES + 17;

  private static PatternCheck check(ForgedGuest guest) {
    try (GuestMemory memory = GuestMemory.map(Linux.system(), guest.memory)) {
      return memory.verifyPattern(memory.heartbeat(ForgedGuest.BOOT));
    }
  }

  private static void assertWrong(ForgedGuest guest, long page, String what) {
    assertThat(check(guest))
        .isInstanceOfSatisfying(
            PatternCheck.Wrong.class,
            w -> {
              assertThat(w.good()).isFalse();
              assertThat(w.faults())
                  .anySatisfy(
                      f -> {
                        assertThat(f.page()).isEqualTo(page);
                        assertThat(f.what()).contains(what);
                      });
            });
  }

  @Test
  void findsTheHeartbeat() {
    try (ForgedGuest guest = new ForgedGuest(0);
        GuestMemory memory = GuestMemory.map(Linux.system(), guest.memory)) {
      assertThat(memory.heartbeats()).hasSize(1);
      Heartbeat heartbeat = memory.heartbeat(ForgedGuest.BOOT);
      assertThat(heartbeat.offset()).isEqualTo(guest.heartbeat);
      assertThat(heartbeat.address()).isEqualTo(guest.heartbeat);
      guest.put(guest.heartbeat + 40, 1001);
      assertThat(memory.again(heartbeat).count()).isEqualTo(1001);
      assertThatThrownBy(() -> memory.heartbeat(1)).hasMessageContaining("is the guest ready?");
    }
  }

  @Test
  void holesStayHoles() {
    try (ForgedGuest guest = new ForgedGuest(0)) {
      long data = dataPages(guest);
      assertThat(check(guest)).isInstanceOf(PatternCheck.Right.class);
      assertThat(dataPages(guest)).isEqualTo(data);
    }
  }

  private static long dataPages(ForgedGuest guest) {
    Linux linux = Linux.system();
    long pages = 0;
    for (var at = linux.nextData(guest.memory, 0); at.isPresent(); ) {
      long hole = linux.nextHole(guest.memory, at.getAsLong());
      pages += (hole - at.getAsLong()) / 4096;
      at = linux.nextData(guest.memory, hole);
    }
    return pages;
  }

  @ParameterizedTest
  @ValueSource(longs = {0, 1, ForgedGuest.PAGES - 1, ForgedGuest.PAGES, REWRITES})
  void aRightPattern(long rewrites) {
    try (ForgedGuest guest = new ForgedGuest(rewrites)) {
      assertThat(check(guest)).isEqualTo(new PatternCheck.Right(ForgedGuest.PAGES, rewrites));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {4, 5, 300, 510, 511})
  void aPageThatIsBeingRewritten(int word) {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.begin(17, 5, word);
      assertThat(check(guest))
          .isEqualTo(new PatternCheck.Torn(ForgedGuest.PAGES, REWRITES, 17, word));
    }
  }

  @Test
  void aPageThatIsRewrittenButNotCounted() {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.write(17, 5);
      assertThat(check(guest)).isEqualTo(new PatternCheck.Right(ForgedGuest.PAGES, REWRITES));
    }
  }

  @Test
  @Promise("proofs")
  void onlyTheNextPageMayBeTorn() {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.begin(18, 5, 300);
      assertWrong(guest, 18, "begins as generation 5, ends as 4");
    }
  }

  @Test
  void aTornPageIsNewBeforeAndOldBehind() {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.begin(17, 5, 300);
      guest.write(17, 4);
      guest.begin(17, 5, 200);
      guest.put(guest.places[17] + 400 * 8, 7);
      assertWrong(guest, 17, "word 400");
    }
  }

  @Test
  void aTornPageIsNotNewWithoutItsBeginning() {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.begin(17, 5, 300);
      guest.put(guest.places[17] + 24, 4);
      assertWrong(guest, 17, "word 4");
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {4, 255, 510})
  @Promise("proofs")
  void aFlippedBit(int word) {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      long at = guest.places[3] + word * 8L;
      guest.put(at, guest.get(at) ^ 1L << 33);
      assertWrong(guest, 3, "word " + word + " is not that of generation 5");
    }
  }

  @Test
  @Promise("proofs")
  void memoryThatWentBack() {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.write(3, 4);
      assertWrong(guest, 3, "memory went back");
    }
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.write(30, 6);
      assertWrong(guest, 30, "memory went ahead");
    }
    // All of it: pages and counter don't agree any more.
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.put(guest.heartbeat + 80, REWRITES + 2);
      assertWrong(guest, 17, "memory went back");
    }
  }

  @Test
  @Promise("proofs")
  void aMissingPage() {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.put(guest.places[9], 0);
      assertWrong(guest, 9, "missing");
    }
  }

  @Test
  void aPageThatIsThereTwice() {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.head(9, guest.spare);
      assertWrong(guest, 9, "there twice");
    }
  }

  @Test
  void aPatternThatCannotBe() {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      guest.put(guest.heartbeat + 88, -1);
      assertWrong(guest, 0, "-1 pattern pages");
    }
  }

  @Test
  @Promise("proofs")
  void everyWrongPageIsCounted() {
    try (ForgedGuest guest = new ForgedGuest(REWRITES)) {
      for (int i = 0; i < ForgedGuest.PAGES; i++) {
        guest.put(guest.places[i] + 8 * 100, 1);
      }
      assertThat(check(guest))
          .isInstanceOfSatisfying(
              PatternCheck.Wrong.class, w -> assertThat(w.count()).isEqualTo(ForgedGuest.PAGES));
    }
  }
}
