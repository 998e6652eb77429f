package io.holdfast.benchmarks;

import io.holdfast.testbed.Testbed;
import java.util.Locale;
import java.util.function.LongSupplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Shows what happens in the demo of an update of the kernel: what the machine does, what {@code
 * holdfast update kernel} and the kernels say, and how far the observer is, who is outside. Any
 * thread may tell it.
 */
final class KernelDemoProgress implements Testbed.Watcher {
  /** In a log there is a line of the observer when nothing else was told for so long. */
  private static final long OBSERVER_NANOS = 5_000_000_000L;

  /** And one of the step that lasts. */
  private static final long STEP_NANOS = 30_000_000_000L;

  private static final Pattern KERNEL = Pattern.compile("Linux version \\S+");
  private static final Pattern HANDED_OVER = Pattern.compile("KHO: exec from: .*");
  private static final Pattern FIRST_PROGRAM = Pattern.compile("Run \\S+ as init process");
  private static final String FLOOR = "the floor";
  private static final String NOTHING = "nothing yet";

  private final Screen screen;
  private final LongSupplier clock;
  private final long start;
  private String step = "the machine boots";
  private long told;
  private boolean observed;
  private int kernels;
  private boolean over;

  /**
   * Begins.
   *
   * @param clock nanoseconds, as {@link System#nanoTime}
   */
  KernelDemoProgress(Screen screen, LongSupplier clock) {
    this.screen = screen;
    this.clock = clock;
    this.start = clock.getAsLong();
    this.told = start;
  }

  @Override
  public synchronized void progress(String text) {
    if (text.startsWith("booting ")) {
      tell("the machine boots Linux " + text.substring("booting ".length()));
    }
  }

  @Override
  public synchronized void fact(String key, String text) {
    switch (key) {
      case "step" -> {
        step = text;
        tell(text);
      }
      case "guest" -> tell("the guest runs: " + text);
      case "update" -> tell("  " + text);
      case "stream" -> observe(text);
      default -> {}
    }
  }

  @Override
  public synchronized void console(String line) {
    Matcher kernel = KERNEL.matcher(line);
    if (kernel.find()) {
      kernels++;
      tell(
          kernels == 1
              ? "its console: " + kernel.group()
              : "the old kernel is gone; the next one's console: " + kernel.group());
    }
    Matcher handed = HANDED_OVER.matcher(line);
    if (handed.find()) {
      tell("its console: " + handed.group());
    }
    if (FIRST_PROGRAM.matcher(line).find()) {
      tell("its first program runs");
    }
  }

  private void observe(String text) {
    // Before its first byte, and when its guest was stopped, the observer has nothing to tell.
    boolean observes = !text.equals(NOTHING) && !step.startsWith(FLOOR);
    String now = observes ? "observer: " + text : "… " + step;
    long silent = clock.getAsLong() - told;
    if (screen.terminal() && !over) {
      screen.passing(stamp() + now);
    } else if ((observes && !observed) || silent >= (observes ? OBSERVER_NANOS : STEP_NANOS)) {
      tell(now);
    }
    observed = observes;
  }

  private void tell(String text) {
    if (!over) {
      told = clock.getAsLong();
      screen.line("  " + stamp() + text);
    }
  }

  private String stamp() {
    return String.format(Locale.ROOT, "%6.1f s  ", (clock.getAsLong() - start) / 1e9);
  }

  /**
   * Nothing is shown from now on.
   *
   * @return whether it was not interrupted before
   */
  synchronized boolean end() {
    boolean ended = !over;
    over = true;
    return ended;
  }

  /** Ends it because the JVM exits; says so unless it had ended. */
  void interrupt() {
    if (end()) {
      screen.failed("Interrupted.");
    }
  }
}
