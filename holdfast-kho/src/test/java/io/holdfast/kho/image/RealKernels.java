package io.holdfast.kho.image;

import static org.junit.jupiter.api.Assumptions.abort;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.concurrent.TimeUnit;

/**
 * Kernels that people boot, where this machine has them; a test that needs one is skipped without.
 */
final class RealKernels {
  private RealKernels() {}

  /**
   * The folder of the testbed's kernel, if it was built: 8 minutes are too much for a test to wait.
   */
  static Path testbed() throws IOException {
    Path build = project().resolve("testbed/kernel/build");
    ProcessBuilder builder =
        new ProcessBuilder(build.toString()).redirectError(ProcessBuilder.Redirect.DISCARD);
    builder.environment().put("HOLDFAST_NO_INSTALL", "1");
    Process process = builder.start();
    try {
      // While one is being built it would wait for that.
      if (!process.waitFor(20, TimeUnit.SECONDS) || process.exitValue() != 0) {
        return abort("the testbed's kernel is not built: testbed/kernel/build does it");
      }
      return Path.of(
          new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return abort("interrupted");
    } finally {
      process.destroy();
    }
  }

  /** The kernel of the test guest, which is Debian's. */
  static Path debian() {
    String guest = Objects.requireNonNullElse(System.getenv("HOLDFAST_GUEST"), "");
    assumeTrue(!guest.isEmpty(), "HOLDFAST_GUEST is not set: ./test sets it");
    return Path.of(guest).resolve("vmlinuz");
  }

  private static Path project() {
    Path folder = Path.of("").toAbsolutePath();
    while (!Files.exists(folder.resolve("testbed/kernel/build"))) {
      folder = Objects.requireNonNull(folder.getParent(), "the project's folder");
    }
    return folder;
  }
}
