package io.holdfast.testbed;

import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What the inside says to the outside, a line each, over the second serial line. A shell can write
 * them as well: {@code echo 'ok it came back' >/dev/ttyS1}.
 *
 * <pre>
 * boot N RELEASE           a kernel is up; N is 0 for the first
 * ok NAME [# DETAIL]       a check held
 * not ok NAME [# DETAIL]   it did not
 * note TEXT                worth telling
 * fact KEY TEXT            the same for a program, by a word
 * alive                    nothing else is new
 * skip REASON              the scenario can't be shown here
 * fail TEXT                a half ended by an exception
 * kexec                    the last before the kernel is replaced
 * done                     the scenario is at its end
 * ended STATUS             the program that ran the halves is gone
 * </pre>
 */
sealed interface Report {
  /** A kernel is up. */
  record Boot(int number, String release) implements Report {}

  /** Something was checked. */
  record Checked(Result.Check check) implements Report {}

  /** Worth telling. */
  record Note(String text) implements Report {}

  /** Worth telling a program. */
  record Fact(String key, String text) implements Report {}

  /** Nothing else is new. */
  record Alive() implements Report {}

  /** The scenario can't be shown here. */
  record Skip(String reason) implements Report {}

  /** A half ended by an exception. */
  record Fail(String text) implements Report {}

  /** The last before the kernel is replaced. */
  record Kexec() implements Report {}

  /** The scenario is at its end. */
  record Done() implements Report {}

  /** The program that ran the halves is gone. */
  record Ended(String status) implements Report {}

  /** The second serial line, inside. */
  String DEVICE = "/dev/ttyS1";

  Pattern BOOT = Pattern.compile("boot (\\d+) (\\S+)");
  Pattern CHECK = Pattern.compile("(not )?ok (.*?)(?: # (.*))?");

  /** Reads a line; what is none of the above is a note. */
  static Report parse(String line) {
    Matcher boot = BOOT.matcher(line);
    if (boot.matches()) {
      return new Boot(Integer.parseInt(boot.group(1)), boot.group(2));
    }
    Matcher check = CHECK.matcher(line);
    if (check.matches()) {
      return new Checked(
          new Result.Check(
              check.group(1) == null, check.group(2), Optional.ofNullable(check.group(3))));
    }
    int space = line.indexOf(' ');
    String word = space < 0 ? line : line.substring(0, space);
    String rest = space < 0 ? "" : line.substring(space + 1);
    return switch (word) {
      case "note" -> new Note(rest);
      case "fact" -> fact(rest);
      case "alive" -> new Alive();
      case "skip" -> new Skip(rest);
      case "fail" -> new Fail(rest);
      case "kexec" -> new Kexec();
      case "done" -> new Done();
      case "ended" -> new Ended(rest);
      default -> new Note(line);
    };
  }

  private static Report fact(String rest) {
    int space = rest.indexOf(' ');
    return space <= 0
        ? new Note(rest)
        : new Fact(rest.substring(0, space), rest.substring(space + 1));
  }

  /** As the line that {@link #parse} reads. */
  default String line() {
    return switch (this) {
      case Boot(int number, String release) -> "boot " + number + " " + release;
      case Checked(Result.Check(boolean ok, String name, Optional<String> detail)) ->
          (ok ? "ok " : "not ok ")
              // A name with the mark in it would be cut there.
              + oneLine(name).replace(" # ", " - ")
              + detail.map(d -> " # " + oneLine(d)).orElse("");
      case Note(String text) -> "note " + oneLine(text);
      case Fact(String key, String text) -> "fact " + key + " " + oneLine(text);
      case Alive() -> "alive";
      case Skip(String reason) -> "skip " + oneLine(reason);
      case Fail(String text) -> "fail " + oneLine(text);
      case Kexec() -> "kexec";
      case Done() -> "done";
      case Ended(String status) -> "ended " + oneLine(status);
    };
  }

  private static String oneLine(String text) {
    return String.join(" | ", text.strip().lines().map(String::strip).toList());
  }
}
