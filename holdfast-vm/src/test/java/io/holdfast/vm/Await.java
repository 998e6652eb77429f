package io.holdfast.vm;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.function.BooleanSupplier;

/** Waits in tests for what comes about by itself and tells nobody. */
public final class Await {
  private static final Duration LIMIT = Duration.ofSeconds(30);

  private Await() {}

  /** Returns when {@code come} is true; fails after 30 s. */
  public static void until(String what, BooleanSupplier come) {
    long deadline = System.nanoTime() + LIMIT.toNanos();
    while (!come.getAsBoolean()) {
      assertThat(System.nanoTime()).as("still waiting for " + what).isLessThan(deadline);
      try {
        Thread.sleep(2);
      } catch (InterruptedException e) {
        throw new AssertionError(e);
      }
    }
  }
}
