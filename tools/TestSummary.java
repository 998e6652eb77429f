import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;
import org.w3c.dom.Element;
import org.w3c.dom.Node;
import org.xml.sax.SAXException;

/**
 * Adds up all modules' surefire reports below the folder given: failed tests, those that passed at a later attempt,
 * skipped tests by reason, and one last line {@code N passed, N failed, N skipped}. Exits 1 if a test failed or none ran.
 */
final class TestSummary {
  private static final String AGAIN = "# run again: ";

  public static void main(String[] arguments) throws IOException, ParserConfigurationException, SAXException {
    List<Path> reports;
    try (var files = Files.walk(Path.of(arguments[0]))) {
      reports = files.filter(f -> f.toString().matches(".*/target/surefire-reports/TEST-[^/]*\\.xml")).sorted().toList();
    }
    int passed = 0;
    int failed = 0;
    Map<String, List<String>> skipped = new TreeMap<>();
    var builder = DocumentBuilderFactory.newInstance().newDocumentBuilder();
    System.out.println();
    for (Path report : reports) {
      var tests = builder.parse(report.toFile()).getElementsByTagName("testcase");
      for (int i = 0; i < tests.getLength(); i++) {
        Element test = (Element) tests.item(i);
        String simpleClass = test.getAttribute("classname").replaceAll(".*\\.", "");
        String name = simpleClass + (test.getAttribute("name").isEmpty() ? "" : "." + test.getAttribute("name"));
        switch (outcome(test)) {
          case Outcome.Passed _ -> {
            passed++;
            again(test).forEach(line -> System.out.println("repeated " + name + ": passed, but not at once: " + line));
          }
          case Outcome.Failed(String message) -> {
            failed++;
            System.out.println("FAILED   " + name + ": " + message);
          }
          case Outcome.Skipped(String reason) -> skipped.computeIfAbsent(reason, _ -> new ArrayList<>()).add(name);
        }
      }
    }
    skipped.forEach((reason, names) -> System.out.println("skipped  " + String.join(", ", names) + ": " + reason));
    int skips = skipped.values().stream().mapToInt(List::size).sum();
    System.out.println(passed + " passed, " + failed + " failed, " + skips + " skipped");
    System.exit(failed > 0 || passed == 0 ? 1 : 0);
  }

  /** What a test says of attempts of its own that failed. */
  private static List<String> again(Element test) {
    return test.getTextContent().lines().filter(l -> l.startsWith(AGAIN)).map(l -> l.substring(AGAIN.length())).toList();
  }

  private sealed interface Outcome {
    record Passed() implements Outcome {}

    record Failed(String message) implements Outcome {}

    record Skipped(String reason) implements Outcome {}
  }

  private static Outcome outcome(Element test) {
    for (Node n = test.getFirstChild(); n != null; n = n.getNextSibling()) {
      if (n instanceof Element e) {
        switch (e.getTagName()) {
          case "failure", "error" -> {
            return new Outcome.Failed(said(e));
          }
          case "skipped" -> {
            String reason = said(e).replaceFirst("^(\\S+TestAbortedException: )?(Assumption failed: )?", "");
            return new Outcome.Skipped(reason.isBlank() ? "NO REASON GIVEN" : reason);
          }
          default -> {} // system-out and the like
        }
      }
    }
    return new Outcome.Passed();
  }

  /** The message, or where surefire puts it for an aborted test: the first line of the stack trace. */
  private static String said(Element outcome) {
    String message = outcome.getAttribute("message");
    String text = message.isBlank() ? outcome.getTextContent() : message;
    return text.strip().lines().findFirst().orElse("");
  }
}
