package io.holdfast.kexec.systemd;

import io.holdfast.core.participant.Step;
import io.holdfast.kexec.depart.HostShutdown;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * A host whose first program is systemd: that stops everything, as for every kexec, but for the
 * agent's service, which survives its final kill. When file systems are unmounted too, systemd
 * calls a program (systemd-shutdown(8)) that asks {@link #hostStopped}; the guests freeze then, and
 * not earlier. As soon as that is answered systemd makes the reboot call.
 */
public final class SystemdShutdown implements HostShutdown {
  /** In the run directory as long as the host stops for an update. */
  public static final String MARKER = "leaving";

  /** kexec.target gives up after 30 minutes, and goes on all the same. */
  private static final Duration LIMIT = Duration.ofMinutes(40);

  private static final Path LOADED = Path.of("/sys/kernel/kexec_loaded");

  /** What systemctl says of a host that is not being stopped (any more). */
  private static final Set<String> UP =
      Set.of("initializing", "starting", "running", "degraded", "maintenance");

  /** The first program's name until everything is stopped; systemd-shutdown comes then. */
  private static final String MANAGER = "systemd";

  private static final long LOOK_AGAIN_SECONDS = 2;
  private static final LateLogger LOG = new LateLogger(SystemdShutdown.class);

  private final Systemctl systemctl;
  private final Path marker;
  private final Path first;
  private final CountDownLatch stopped = new CountDownLatch(1);
  private final CompletableFuture<Optional<String>> verdict = new CompletableFuture<>();

  /**
   * @param run the run directory
   * @param first the file with the first program's name, /proc/1/comm
   */
  public SystemdShutdown(Systemctl systemctl, Path run, Path first) {
    this.systemctl = systemctl;
    this.first = first;
    this.marker = run.resolve(MARKER);
  }

  @Override
  public String describe() {
    return "systemd stops all services and unmounts file systems, and the agent with its VMs goes last";
  }

  @Override
  public Duration limit() {
    return LIMIT;
  }

  @Override
  public void stopTheRest(Step step) throws IOException {
    if (stopped.getCount() == 0) {
      return;
    }
    Files.writeString(marker, step.update() + "\n");
    step.progress("systemd stops the host");
    // What `systemctl kexec` does when an image is loaded.
    String _ =
        systemctl.run("--no-block", "--job-mode=replace-irreversibly", "start", "kexec.target");
    try {
      while (!stopped.await(LOOK_AGAIN_SECONDS, TimeUnit.SECONDS)) {
        String state = systemctl.ask("is-system-running").said().strip();
        if (UP.contains(state)) {
          throw new IOException("the host is not being stopped any more: it is " + state);
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("systemd did not get so far in time", e);
    }
  }

  @Override
  public void leave(Linux linux) {
    try {
      if (!Files.readString(LOADED).strip().equals("1")) {
        // systemd would restart the machine instead.
        throw new IllegalStateException("the next kernel is not loaded any more");
      }
    } catch (IOException e) {
      throw new IllegalStateException("whether the next kernel is loaded can't be read", e);
    }
    boolean _ = verdict.complete(Optional.empty());
  }

  /**
   * Waits until all guests stand still, and everything is handed over.
   *
   * @return empty if the reboot call may be made; else why it may not: the guests run
   * @throws IOException if the first program's name can't be read
   */
  public Optional<String> hostStopped() throws IOException, InterruptedException {
    if (Files.readString(first).strip().equals(MANAGER)) {
      // Whoever asks is not what systemd calls last: guests would stand still for nothing.
      return Optional.of("systemd is still stopping the host");
    }
    stopped.countDown();
    try {
      return verdict.get();
    } catch (ExecutionException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Aborts the host's shutdown, if systemd can still do that; else whoever asks is told why. */
  @Override
  public void goesOn(String why) {
    if (!Files.exists(marker)) {
      return;
    }
    try {
      if (stopped.getCount() > 0) {
        String _ = systemctl.run("cancel");
        String _ = systemctl.run("--no-block", "start", "default.target");
        Files.delete(marker);
      }
    } catch (IOException e) {
      LOG.get()
          .log(
              System.Logger.Level.WARNING,
              "the host's shutdown can't be aborted; the VMs go on all the same",
              e);
    }
    boolean _ = verdict.complete(Optional.of(why));
  }
}
