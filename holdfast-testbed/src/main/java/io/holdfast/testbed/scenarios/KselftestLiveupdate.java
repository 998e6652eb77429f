package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Kernel;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The kernel's own test of the interface of /dev/liveupdate, as it is; all its results. */
@Promise("proofs")
public final class KselftestLiveupdate implements Scenario {
  private static final Pattern RESULT = Pattern.compile("(not )?ok \\d+ (.*?)(?:\\s+# (SKIP.*))?");
  private static final Pattern PLAN = Pattern.compile("1\\.\\.(\\d+)");
  private static final String PROGRAM = "liveupdate";

  @Override
  public String title() {
    return "the kernel's own test liveupdate/liveupdate";
  }

  @Override
  public Setup setup() {
    return Setup.standard().withKernel(Kernel.Config.DEBUG);
  }

  @Override
  public void prepare(Outside out) throws IOException {
    Path tests = KernelSelftest.suite(out, "liveupdate");
    out.same(
        "the kernel has every option that the test asks for",
        java.util.List.of(),
        KernelSelftest.missing(out, tests));
    Files.copy(
        tests.resolve(PROGRAM),
        out.exchange().resolve(PROGRAM),
        StandardCopyOption.COPY_ATTRIBUTES);
  }

  @Override
  public void before(Inside in) throws IOException {
    Process test =
        new ProcessBuilder(in.exchange().resolve(PROGRAM).toString())
            .redirectErrorStream(true)
            .start();
    test.getOutputStream().close();
    String said = new String(test.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    int planned = -1;
    int results = 0;
    for (String line : said.lines().toList()) {
      System.out.println(line);
      Matcher plan = PLAN.matcher(line);
      Matcher result = RESULT.matcher(line);
      if (plan.matches()) {
        planned = Integer.parseInt(plan.group(1));
      } else if (result.matches()) {
        results++;
        String skipped = result.group(3);
        in.check(
            result.group(2) + (skipped == null ? "" : " - " + skipped), result.group(1) == null);
      }
    }
    in.same("results are as many as planned", planned, results);
    try {
      in.same("the test's exit status", 0, test.waitFor());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
