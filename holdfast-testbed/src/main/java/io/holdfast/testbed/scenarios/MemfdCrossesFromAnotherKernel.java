package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Kernel;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The same between kernels that were built from different configurations, from one with every check
 * of itself; and in transparent huge pages. (The other way round Linux 7.3.4 warns of a reference
 * count when the session is finished: its test of file-lifecycle-bound objects, LIVEUPDATE_TEST,
 * takes it for granted that the previous kernel had it as well.)
 */
@Promise("kernel-facts")
public final class MemfdCrossesFromAnotherKernel extends MemfdCrosses {
  @Override
  public String title() {
    return super.title() + ", in huge pages, from a kernel of another configuration";
  }

  @Override
  public Setup setup() {
    return super.setup().withKernel(Kernel.Config.DEBUG).withNext(Kernel.Config.STANDARD);
  }

  @Override
  public void before(Inside in) throws IOException {
    Path huge = Path.of("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    if (Files.exists(huge)) {
      Files.writeString(huge, "always");
    } else {
      in.note("this kernel has no transparent huge pages");
    }
    super.before(in);
  }
}
