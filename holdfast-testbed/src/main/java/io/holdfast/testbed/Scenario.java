package io.holdfast.testbed;

import java.io.IOException;
import java.util.Optional;

/**
 * One thing that is shown on a real kernel: an inside half, before and after a kexec, and an
 * outside half. It needs a constructor without parameters that is not private, as it is made anew
 * inside, once for each kernel: what is to be known after the kexec goes through {@link
 * Inside#remember}.
 *
 * <pre>{@code
 * public final class MemoryComesBack implements Scenario {
 *   public String title() { return "a page comes back after a kexec"; }
 *
 *   public void before(Inside in) {
 *     Fd memory = in.linux().memfd("page", 4096);
 *     in.linux().liveUpdate().create("mine").preserve(memory, 1); // stays open until the kexec
 *     in.kexec();
 *   }
 *
 *   public void after(Inside in) {
 *     try (IncomingSession mine = in.linux().liveUpdate().retrieve("mine"); Fd memory = mine.retrieve(1)) {
 *       in.check("its size is what it was", in.linux().size(memory) == 4096);
 *       mine.finish();
 *     }
 *   }
 * }
 * }</pre>
 */
public interface Scenario {
  /**
   * Its name on the command line: the class's, in lower case with hyphens, unless it has another.
   */
  default String name() {
    return getClass()
        .getSimpleName()
        .replaceAll("(?<=[a-z0-9])(?=[A-Z])", "-")
        .toLowerCase(java.util.Locale.ROOT);
  }

  /** What it shows, in one line. */
  String title();

  /** The machine that it runs on. */
  default Setup setup() {
    return Setup.standard();
  }

  /** A kind of trouble that it makes on purpose: without that it fails. */
  default Optional<Trouble.Kind> provokes() {
    return Optional.empty();
  }

  /**
   * Whether a guest of its own runs on the machine's KVM. That is emulated, and now and then ends a
   * guest or the whole machine by itself (docs/testbed.md): where nobody watches, such a scenario
   * that lost them is run again, three times in all, and each result is told.
   */
  default boolean onEmulatedKvm() {
    return false;
  }

  /**
   * Runs outside before the machine starts, to put things in its place.
   *
   * @throws SkippedException if something is missing here
   * @throws IOException fails the scenario, as any exception does
   */
  default void prepare(Outside out) throws IOException {}

  /**
   * Runs inside, on the first kernel. If it returns, the scenario ends without a kexec.
   *
   * @throws SkippedException if the kernel lacks what the scenario is about
   * @throws IOException fails the scenario, as any exception does
   */
  void before(Inside in) throws IOException;

  /** Runs inside on each kernel after the first; {@link Inside#boot} tells which. */
  default void after(Inside in) throws IOException {
    throw new IllegalStateException("scenario " + name() + " has no part after a kexec");
  }

  /** Runs outside when the machine has ended in good order; looks at what is left of it. */
  default void outside(Outside out) throws IOException {}
}
