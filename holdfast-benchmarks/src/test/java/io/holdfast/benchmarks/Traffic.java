package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** A {@link TrafficPeer} in a namespace of its own, for a test. */
final class Traffic implements AutoCloseable {
  private final Process process;
  private final BufferedWriter orders;
  private final BufferedReader answers;

  /**
   * Starts it; traffic flows when this returns.
   *
   * @param prefix what runs a command in the peer's namespace
   */
  Traffic(List<String> prefix, String guest) throws IOException {
    List<String> command = new ArrayList<>(prefix);
    command.addAll(
        Jvm.command(
            "io.holdfast.benchmarks",
            TrafficPeer.class.getName(),
            List.of("-XX:TieredStopAtLevel=1", "-Xmx128m"),
            List.of(guest)));
    process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    orders =
        new BufferedWriter(
            new OutputStreamWriter(process.getOutputStream(), StandardCharsets.UTF_8));
    answers =
        new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    var _ = answer();
    assertFlows();
  }

  private JsonObject answer() throws IOException {
    String line = answers.readLine();
    assertThat(line).as("what the peer says").isNotNull();
    return Json.parse(line);
  }

  private JsonObject ask(String order) throws IOException {
    orders.write(order + "\n");
    orders.flush();
    return answer();
  }

  /** Checks that everything goes on, each way, from where it is now. */
  void assertFlows() throws IOException {
    JsonObject before = ask("status");
    long end = System.nanoTime() + 20_000_000_000L;
    for (boolean on = false; !on; RunningGuest.pause(10)) {
      JsonObject last = ask("status");
      assertThat(last.array("errors").strings()).isEmpty();
      on =
          List.of("received", "acknowledged", "datagramsSent", "datagramsReceived").stream()
              .allMatch(each -> last.number(each) > before.number(each));
      assertThat(System.nanoTime())
          .as("from %s it went no further than %s", before, last)
          .isLessThan(end);
    }
  }

  /** Ends the traffic and says what became of it. */
  JsonObject stop() throws IOException {
    return ask("stop");
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }
}
