package io.holdfast.testbed;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Where kernels come from. */
public interface Kernels {
  /** The status with which {@code testbed/kernel/build} says that a tree does not build. */
  int DOES_NOT_BUILD = 125;

  /**
   * The kernel of a configuration.
   *
   * @throws SkippedException if there is none here, with how to get it
   * @throws KernelBuildException if it does not build
   */
  Kernel get(Kernel.Config config);

  /** There is no kernel: it does not build, or nothing is there to build. */
  final class KernelBuildException extends RuntimeException {
    private static final long serialVersionUID = 1L;
    private final boolean builds;

    KernelBuildException(String message, boolean builds) {
      super(message);
      this.builds = builds;
    }

    /** Whether the source is at fault: it was there, and does not build. */
    public boolean sourceDoesNotBuild() {
      return !builds;
    }
  }

  /** One image for everything: somebody's own. */
  static Kernels image(Path image) {
    Kernel own = new Kernel(image.toAbsolutePath(), Optional.empty(), "the image " + image);
    return _ -> own;
  }

  /**
   * Those that were built before this started: HOLDFAST_KERNEL, HOLDFAST_KERNEL_DEBUG and
   * HOLDFAST_KERNEL_OLDER name the folders that {@code testbed/kernel/build} printed.
   */
  static Kernels fromEnvironment() {
    return config -> {
      String variable =
          config == Kernel.Config.STANDARD ? "HOLDFAST_KERNEL" : "HOLDFAST_KERNEL_" + config;
      String folder = System.getenv().getOrDefault(variable, "");
      if (folder.isEmpty()) {
        throw new SkippedException(
            variable
                + " names no kernel; `testbed/kernel/build "
                + String.join(" ", config.options())
                + "` builds one and prints its folder");
      }
      return in(Path.of(folder), config);
    };
  }

  /**
   * Built as they are needed, or taken from the cache, by {@code testbed/kernel/build}.
   *
   * @param testbed the project's testbed folder
   * @param options further ones of that script, such as {@code --tree DIR}
   */
  static Kernels built(Path testbed, List<String> options) {
    Map<Kernel.Config, Kernel> done = new EnumMap<>(Kernel.Config.class);
    return config -> {
      synchronized (done) {
        return done.computeIfAbsent(config, c -> build(testbed, options, c));
      }
    };
  }

  private static Kernel build(Path testbed, List<String> options, Kernel.Config config) {
    boolean older = config == Kernel.Config.OLDER;
    List<String> command = new ArrayList<>(List.of(testbed.resolve("kernel/build").toString()));
    command.addAll(config.options());
    command.addAll(older ? List.of() : options);
    try {
      ProcessBuilder builder = new ProcessBuilder(command);
      if (older) {
        builder.environment().put("HOLDFAST_NO_INSTALL", "1");
      }
      Process build =
          builder
              .redirectError(
                  older ? ProcessBuilder.Redirect.DISCARD : ProcessBuilder.Redirect.INHERIT)
              .start();
      String folder =
          new String(build.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
      int status = build.waitFor();
      if (status != 0 && older) {
        throw new SkippedException(
            "this kernel was not built before; `" + String.join(" ", command) + "` does");
      }
      if (status != 0) {
        throw new KernelBuildException(
            String.join(" ", command) + " failed with " + status + "; it said why, above",
            status != DOES_NOT_BUILD);
      }
      return in(Path.of(folder), config);
    } catch (IOException e) {
      throw new KernelBuildException(String.join(" ", command) + ": " + e.getMessage(), true);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new KernelBuildException(String.join(" ", command) + " was interrupted", true);
    }
  }

  private static Kernel in(Path folder, Kernel.Config config) {
    try {
      String release = Files.readString(folder.resolve("release")).strip();
      return new Kernel(
          folder.resolve("bzImage"), Optional.of(folder), release + ", " + config.shown());
    } catch (IOException e) {
      throw new SkippedException(
          folder + " is not what testbed/kernel/build makes: " + e.getMessage());
    }
  }
}
