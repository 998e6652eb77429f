package io.holdfast.testbed;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * How a scenario ended.
 *
 * @param name the scenario's
 * @param title what it shows
 * @param outcome how
 * @param kernels the kernels that ran, in their order
 * @param checks what was checked, inside and outside
 * @param notes what was said besides
 * @param facts the same by a word, for programs; of each word the last
 * @param trouble what the console told; the one that was provoked, if the scenario is about that
 * @param length from the start of the machine to its end
 * @param run the run's folder; empty if there was no run
 */
public record Result(
    String name,
    String title,
    Outcome outcome,
    List<String> kernels,
    List<Check> checks,
    List<String> notes,
    Map<String, String> facts,
    Optional<Trouble> trouble,
    Duration length,
    Optional<Path> run) {

  /** Copies the collections. */
  public Result {
    kernels = List.copyOf(kernels);
    checks = List.copyOf(checks);
    notes = List.copyOf(notes);
    facts = Map.copyOf(facts);
  }

  /**
   * Something that was checked.
   *
   * @param ok whether it held
   * @param name what it was
   * @param detail the value, or what was expected and got
   */
  public record Check(boolean ok, String name, Optional<String> detail) {
    /** Whether a value is what it should be. */
    static Check same(String name, Object expected, Object actual) {
      boolean same = expected.equals(actual);
      return new Check(
          same,
          name,
          Optional.of(same ? actual.toString() : "expected " + expected + ", got " + actual));
    }
  }

  /** How. */
  public sealed interface Outcome {
    /** All of it held. */
    record Passed() implements Outcome {}

    /** Something did not hold, or went wrong. */
    record Failed(String why) implements Outcome {}

    /** It can't be shown here. */
    record Skipped(String why) implements Outcome {}
  }

  /** Whether it passed. */
  public boolean passed() {
    return outcome instanceof Outcome.Passed;
  }
}
