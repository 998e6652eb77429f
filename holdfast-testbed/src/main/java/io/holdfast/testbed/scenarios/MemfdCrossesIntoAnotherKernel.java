package io.holdfast.testbed.scenarios;

import io.holdfast.testbed.Kernel;
import io.holdfast.testbed.Setup;

/** The same into a kernel that was built otherwise: with every check of itself. */
public final class MemfdCrossesIntoAnotherKernel extends MemfdCrosses {
  @Override
  public String title() {
    return super.title() + ", into a kernel of another configuration";
  }

  @Override
  public Setup setup() {
    return super.setup().withNext(Kernel.Config.DEBUG);
  }
}
