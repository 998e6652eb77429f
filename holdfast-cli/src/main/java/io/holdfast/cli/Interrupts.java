package io.holdfast.cli;

import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;

/**
 * What Ctrl-C (or any other wish that the process end) does to a command that would leave something
 * half done. A command without a handler just ends, as processes do.
 */
final class Interrupts {
  /**
   * How long a command that was interrupted may take to come to its end before the process ends
   * without it.
   */
  private static final long PATIENCE_SECONDS = 60;

  private final AtomicReference<Optional<BooleanSupplier>> handler =
      new AtomicReference<>(Optional.empty());

  /** The time during which a handler is in place. */
  interface Scope extends AutoCloseable {
    @Override
    void close();
  }

  /**
   * Puts the handler in place until the scope is closed; it will run on another thread, beside the
   * command.
   *
   * @param interrupted returns whether the command is to be waited for
   */
  Scope handle(BooleanSupplier interrupted) {
    handler.set(Optional.of(interrupted));
    return () -> handler.set(Optional.empty());
  }

  /**
   * Runs the handler if one is in place.
   *
   * @return whether the command is to be waited for
   */
  boolean interrupt() {
    return handler.get().map(BooleanSupplier::getAsBoolean).orElse(false);
  }

  /**
   * Has signals that end the JVM (SIGINT, SIGTERM, SIGHUP) interrupt the command. The JVM offers no
   * supported way to catch a signal but its shutdown hooks, so the hook waits for the command and
   * ends the process with its exit code.
   *
   * @param finished completed by the caller once the command has ended and its output is written
   */
  void listen(CompletableFuture<Exit> finished) {
    Runtime.getRuntime().addShutdownHook(new Thread(() -> end(finished), "interrupted"));
  }

  private void end(CompletableFuture<Exit> finished) {
    if (finished.isDone() || !interrupt()) {
      return;
    }
    Exit exit = Exit.FAILED;
    try {
      exit = finished.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
    } catch (TimeoutException | ExecutionException e) {
      System.err.println(
          "holdfast: gave up waiting for the agent. See what became of it: holdfast update list");
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    Runtime.getRuntime().halt(exit.code());
  }
}
