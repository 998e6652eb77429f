package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Errno;
import io.holdfast.linux.LiveUpdate;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import java.io.IOException;
import java.util.List;

/** A next kernel without {@code liveupdate=on} loses all state, and says nothing. */
@Promise("kernel-facts")
public final class MissingLiveupdateLoses implements Scenario {
  @Override
  public String title() {
    return "without liveupdate=on on the next kernel's command line all state is lost silently";
  }

  @Override
  public void before(Inside in) {
    in.linux().liveUpdate().create("lost").preserve(in.linux().memfd("memory", 1 << 20), 1);
    in.check("the state was accepted", true);
    in.kexec(line -> line.replace(" liveupdate=on", ""));
  }

  @Override
  public void after(Inside in) {
    in.note("this is a fact of Linux " + in.release());
    LiveUpdate luo = in.linux().liveUpdate();
    LuoRefusals.refused(
        in,
        "the next kernel has no live update orchestrator",
        Errno.ENOENT,
        () -> luo.retrieve("lost").toString());
  }

  @Override
  public void outside(Outside out) throws IOException {
    String console = out.console();
    String second = console.substring(console.lastIndexOf("Linux version"));
    out.check("KHO itself was handed over", second.contains("KHO"));
    List<String> said = second.lines().filter(l -> l.contains("] luo: ")).toList();
    said.forEach(out::note);
    out.check(
        "the console says nothing of lost state",
        said.stream()
            .noneMatch(l -> l.matches(".*(?i)(lost|losing|discard|drop|fail|off|disabled).*")));
  }
}
