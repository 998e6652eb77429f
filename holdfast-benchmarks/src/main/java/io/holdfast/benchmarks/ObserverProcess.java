package io.holdfast.benchmarks;

import io.holdfast.linux.Fd;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** A running {@link Observer}, from the side of whoever started it. One thread at a time. */
public final class ObserverProcess implements AutoCloseable {
  private static final long END_SECONDS = 5;

  private final Process process;
  private final BufferedReader out;
  private final Writer in;
  private final boolean realTime;

  private ObserverProcess(Process process) {
    this.process = process;
    this.out =
        new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    this.in = process.outputWriter(StandardCharsets.UTF_8);
    try {
      this.realTime = answer().bool("realTime");
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  /**
   * Starts an observer, and returns when it samples.
   *
   * @param memory the guest's RAM, borrowed until this returns
   * @param boot the guest's boot id; the guest must be ready
   * @throws IllegalStateException if it can't observe: what it said is on standard error
   * @throws UncheckedIOException if it can't be started
   */
  public static ObserverProcess start(Fd memory, long boot) {
    List<String> command =
        Jvm.command(
            "io.holdfast.benchmarks",
            Observer.class.getName(),
            List.of("-Xms16m", "-Xmx16m", "-XX:TieredStopAtLevel=1", "-XX:+AlwaysPreTouch"),
            List.of(
                String.valueOf(ProcessHandle.current().pid()),
                String.valueOf(memory.number()),
                Long.toHexString(boot)));
    try {
      return new ObserverProcess(
          new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start());
    } catch (IOException e) {
      throw new UncheckedIOException("starting the observer: " + String.join(" ", command), e);
    }
  }

  /** Its process. */
  public long pid() {
    return process.pid();
  }

  /** Whether it samples with a real-time priority. */
  public boolean realTime() {
    return realTime;
  }

  /**
   * Ends a window and returns what was seen in it.
   *
   * @param label names the window; one line
   * @throws IllegalStateException if the observer has ended
   */
  public Observation mark(String label) {
    try {
      in.write("mark " + label + "\n");
      in.flush();
    } catch (IOException e) {
      throw ended(e);
    }
    return Observation.of(answer());
  }

  private JsonObject answer() {
    try {
      String line = out.readLine();
      if (line == null) {
        throw ended(new IOException("end of its output"));
      }
      return Json.parse(line);
    } catch (IOException e) {
      throw ended(e);
    }
  }

  private IllegalStateException ended(IOException e) {
    return new IllegalStateException(
        "the observer (process " + process.pid() + ") has ended; its standard error says why", e);
  }

  /** Ends it and waits for its end. */
  @Override
  public void close() {
    try {
      in.close();
    } catch (IOException e) {
      process.destroyForcibly(); // its input is gone, so it is ending or ended
    }
    try {
      if (!process.waitFor(END_SECONDS, TimeUnit.SECONDS)) {
        process.destroyForcibly().waitFor();
      }
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
    }
  }
}
