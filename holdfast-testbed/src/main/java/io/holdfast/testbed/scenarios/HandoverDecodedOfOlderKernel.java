package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Kernel;
import io.holdfast.testbed.Setup;

/** The same with the release before, whose formats are to be read side by side with these. */
@Promise("handovers")
public final class HandoverDecodedOfOlderKernel extends HandoverDecoded {
  @Override
  public String title() {
    return super.title() + ", of Linux 7.2 as well";
  }

  @Override
  public Setup setup() {
    return super.setup().withKernel(Kernel.Config.OLDER);
  }
}
