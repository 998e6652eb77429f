package io.holdfast.vm.qemu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.Json;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

@Promise("no-more-privileges")
class CredentialsTest {
  private static final String STATUS =
      """
      Name:\tqemu-system-x86
      Uid:\t0\t64055\t0\t64055
      Gid:\t0\t108\t0\t108
      Groups:\t44 108\s
      CapInh:\t0000000000000000
      CapPrm:\t000001ffffffffff
      CapEff:\t0000000000000000
      CapBnd:\t00000000a80425fb
      NoNewPrivs:\t1
      Seccomp:\t2
      """;

  @Test
  void readsTheEffectiveOnesOfAStatus() throws IOException {
    Credentials found = Credentials.parse(STATUS, "status");
    assertThat(found).isEqualTo(new Credentials(64055, 108, List.of(44, 108), 0xa80425fbL, true));
    assertThat(Credentials.fromJson(Json.parse(found.toJson().toString()))).isEqualTo(found);
  }

  @Test
  void rootHasNoMoreThanItMayUse() throws IOException {
    String root = STATUS.replace("64055", "0").replace("000001ffffffffff", "0000000000000400");
    assertThat(Credentials.parse(root, "status").capabilities()).isEqualTo(0x400);
  }

  @Test
  void namesTheLineThatIsMissing() {
    assertThatThrownBy(() -> Credentials.parse(STATUS.replace("CapBnd", "Cap"), "/proc/7/status"))
        .isInstanceOf(IOException.class)
        .hasMessage("/proc/7/status has no line CapBnd");
  }

  @Test
  void theSameNeedNoWords() throws IOException {
    Credentials own = Credentials.of(Math.toIntExact(ProcessHandle.current().pid()));
    assertThat(own.before(own)).isEmpty();
  }

  /** The words are given to the real setpriv, and what it starts tells what it has. */
  @Test
  void aProgramRunsWithThem() throws IOException {
    assumeTrue(Linux.system().effectiveUser() == 0, "needs root, to become another user");
    Credentials own = Credentials.of(Math.toIntExact(ProcessHandle.current().pid()));
    long fewer = own.capabilities() & ~(1L << 21);
    for (Credentials wanted :
        List.of(
            new Credentials(64055, 108, List.of(44, 108), fewer, true),
            new Credentials(65534, 65534, List.of(), own.capabilities(), false),
            new Credentials(0, 0, List.of(), fewer, false))) {
      List<String> command = new ArrayList<>(wanted.before(own));
      command.addAll(List.of("cat", "/proc/self/status"));
      Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
      String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      assertThat(Credentials.parse(said, said)).isEqualTo(wanted);
    }
  }
}
