package io.holdfast.benchmarks;

import io.holdfast.promise.Promise;
import org.junit.jupiter.api.Tag;

/** {@link ManyTest} with ten guests. */
@Tag("nightly")
@Promise("many-vms")
class TenTest extends ManyTest {
  @Override
  int wanted() {
    return 10;
  }
}
