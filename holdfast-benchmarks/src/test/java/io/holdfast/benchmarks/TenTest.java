package io.holdfast.benchmarks;

import org.junit.jupiter.api.Tag;

/** {@link ManyTest} with ten guests. */
@Tag("nightly")
class TenTest extends ManyTest {
  @Override
  int wanted() {
    return 10;
  }
}
