package io.holdfast.testkit;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.state.UpdateState;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Objects;

/**
 * What version 0.1.0 wrote ({@code format-0} of the test resources), and what is looked at of it.
 */
public final class FormatZero {
  private FormatZero() {}

  /** Reads a file that version 0.1.0 wrote. */
  public static byte[] golden(String name) throws IOException {
    try (InputStream in = FormatZero.class.getResourceAsStream("/format-0/" + name)) {
      return Objects.requireNonNull(in, name).readAllBytes();
    }
  }

  /** Likewise, the lines of a text. */
  public static List<String> lines(String name) throws IOException {
    return new String(golden(name), StandardCharsets.UTF_8).lines().toList();
  }

  /** The states that a journal tells, in its order. */
  public static List<UpdateState> states(List<JournalRecord> records) {
    return records.stream()
        .filter(JournalRecord.Entered.class::isInstance)
        .map(each -> ((JournalRecord.Entered) each).state())
        .toList();
  }

  /** The keys of the facts that a journal tells, in its order. */
  public static List<String> facts(List<JournalRecord> records) {
    return records.stream()
        .filter(JournalRecord.Fact.class::isInstance)
        .map(each -> ((JournalRecord.Fact) each).key())
        .toList();
  }
}
