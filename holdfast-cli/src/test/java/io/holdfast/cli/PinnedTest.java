package io.holdfast.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What looking and opening give while a file changes. */
@Timeout(60)
@Promise("debug-view")
class PinnedTest {
  private static final int TAR = 1;
  private static final int CAT = 2;
  private static final Pinned.Generation NOTHING =
      new Pinned.Generation(new Content.Bytes(""), Instant.EPOCH);

  private final AtomicReference<String> now = new AtomicReference<>("one");

  /** One whose readers are as slow as they like. */
  private final Pinned file = file(Duration.ofSeconds(40));

  private final Pinned hasty = file(Duration.ofMillis(20));

  private Pinned file(Duration grace) {
    return new Pinned(
        () -> {
          if (now.get().isEmpty()) {
            throw new NoSuchFileException("file");
          }
          return new Content.Bytes(now.get());
        },
        grace);
  }

  private static void waitLonger() throws InterruptedException {
    TimeUnit.MILLISECONDS.sleep(30);
  }

  private String look(int thread) throws IOException {
    return look(file, thread);
  }

  private static String look(Pinned file, int thread) throws IOException {
    return text(file.look(thread).orElseThrow());
  }

  private static String text(Pinned.Generation generation) {
    ByteBuffer bytes = ByteBuffer.allocate((int) generation.content().size() + 1);
    try {
      assertThat(generation.content().read(bytes, 0)).isEqualTo(generation.content().size());
    } catch (IOException e) {
      throw new AssertionError(e);
    }
    return new String(bytes.array(), 0, bytes.position(), StandardCharsets.UTF_8);
  }

  private CompletableFuture<String> lookElsewhere(int thread) {
    return CompletableFuture.supplyAsync(
        () -> {
          try {
            return look(thread);
          } catch (IOException e) {
            throw new AssertionError(e);
          }
        });
  }

  @Test
  void whoLooksAndThenOpensGetsWhatWasLookedAt() throws IOException {
    assertThat(look(TAR)).isEqualTo("one");
    now.set("another");
    assertThat(look(TAR)).as("looked at again before it is opened").isEqualTo("one");
    assertThat(text(file.open(TAR).orElseThrow())).isEqualTo("one");
    assertThat(look(TAR)).as("looked at while it is open").isEqualTo("one");
    file.close(TAR);
    file.release();
    assertThat(look(TAR)).isEqualTo("another");
  }

  @Test
  void whatIsNewWaitsForWhoHasLooked() throws Exception {
    assertThat(look(TAR)).isEqualTo("one");
    now.set("another");
    CompletableFuture<String> cat = lookElsewhere(CAT);
    TimeUnit.MILLISECONDS.sleep(50);
    assertThat(cat).isNotDone();
    Pinned.Generation opened = file.open(TAR).orElseThrow();
    assertThat(text(opened)).isEqualTo("one");
    TimeUnit.MILLISECONDS.sleep(50);
    assertThat(cat).as("as long as it is open").isNotDone();
    file.release();
    assertThat(cat.get()).isEqualTo("another");
    assertThat(text(file.open(CAT).orElseThrow())).isEqualTo("another");
    file.release();
  }

  @Test
  void whatHasNotChangedIsNotWaitedFor() throws Exception {
    assertThat(look(TAR)).isEqualTo("one");
    Pinned.Generation opened = file.open(TAR).orElseThrow();
    assertThat(lookElsewhere(CAT).get(20, TimeUnit.SECONDS)).isEqualTo("one");
    assertThat(file.open(CAT)).containsSame(opened);
    file.release();
    file.release();
  }

  @Test
  void whoHasItOpenForLongIsNotWaitedForAndKeepsIt() throws Exception {
    Pinned.Generation opened;
    do {
      assertThat(look(hasty, TAR)).isEqualTo("one");
      opened = hasty.open(TAR).orElse(NOTHING);
    } while (opened.equals(NOTHING));
    waitLonger();
    now.set("another");
    assertThat(look(hasty, CAT)).as("one generation at a time").isEqualTo("one");
    assertThat(text(opened)).isEqualTo("one");
    hasty.release();
    waitLonger();
    assertThat(look(hasty, CAT)).isEqualTo("another");
  }

  @Test
  void whoTakesTooLongMustLookAgain() throws Exception {
    assertThat(hasty.open(TAR)).as("never looked").isEmpty();
    assertThat(look(hasty, TAR)).isEqualTo("one");
    waitLonger();
    assertThat(hasty.open(TAR)).isEmpty();
    now.set("another");
    assertThat(look(hasty, TAR)).isEqualTo("another");
  }

  @Test
  void whatIsGoneIsNotThere() throws Exception {
    assertThat(look(TAR)).isEqualTo("one");
    Pinned.Generation opened = file.open(TAR).orElseThrow();
    now.set("");
    assertThatThrownBy(() -> file.look(CAT)).isInstanceOf(NoSuchFileException.class);
    assertThat(text(opened)).as("who has it open").isEqualTo("one");
    file.release();
  }

  @Test
  void isRetiredOnlyWhenNobodyNeedsIt() throws Exception {
    assertThat(look(TAR)).isEqualTo("one");
    assertThat(file.retire()).as("looked at").isFalse();
    assertThat(file.open(TAR)).isPresent();
    assertThat(file.retire()).as("open").isFalse();
    file.release();
    assertThat(file.retire()).isTrue();
    assertThat(file.look(TAR)).as("another object is in use now").isEmpty();
  }
}
