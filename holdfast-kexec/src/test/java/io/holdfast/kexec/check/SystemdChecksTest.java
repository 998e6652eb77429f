package io.holdfast.kexec.check;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.kexec.systemd.Systemctl;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a plan says of a host with systemd; the host's files and its command are made up. */
@Promise("systemd-hosts")
final class SystemdChecksTest {
  private static final String GOOD =
      """
      DefaultDependencies=no
      SurviveFinalKillSignal=yes
      FileDescriptorStorePreserve=yes
      KillMode=process
      Conflicts=reboot.target poweroff.target halt.target
      Requires=system.slice -.mount
      Requisite=
      BindsTo=
      PartOf=
      WantedBy=multi-user.target
      RequiredBy=
      UpheldBy=
      """;

  private static final Path RUN = Path.of("/run/holdfast");

  @TempDir Path root;

  @BeforeEach
  void good() throws IOException {
    write("proc/self/cgroup", "0::/system.slice/holdfast.service\n");
    write("proc/77/cgroup", "0::/system.slice/holdfast.service\n");
    write("version", "262.1-1\n");
    write("unit", GOOD);
    program("usr/lib/systemd/system-shutdown/holdfast", "#!/bin/sh\n");
    program("usr/bin/varlinkctl", "#!/bin/sh\n");
    program(
        "systemctl",
        """
        #!/bin/sh
        case "$*" in
          'show --property=Version --value') cat %1$s/version ;;
          'show --property='*' -- holdfast.service') cat %1$s/unit ;;
          'show --property=ActiveState -- '*.service) cat "%1$s/${4}" 2>/dev/null || echo ActiveState=inactive ;;
          *) echo "unexpected: $*"; exit 1 ;;
        esac
        """
            .formatted(root));
  }

  private void write(String name, String text) throws IOException {
    Files.createDirectories(root.resolve(name).getParent());
    Files.writeString(root.resolve(name), text);
  }

  private void program(String name, String text) throws IOException {
    write(name, text);
    Files.setPosixFilePermissions(root.resolve(name), PosixFilePermissions.fromString("rwxr-xr-x"));
  }

  private List<Obstacle> obstacles(String store) {
    return obstacles(store, RUN, RUN.resolve("agent.sock"));
  }

  private List<Obstacle> obstacles(String store, Path run, Path socket) {
    return new SystemdChecks(
            new Systemctl(root.resolve("systemctl").toString()), root, store, run, socket)
        .obstacles(Set.of(77));
  }

  private String only() {
    List<Obstacle> found = obstacles("systemd");
    assertThat(found).hasSize(1);
    assertThat(found.getFirst().advice()).isNotEmpty();
    return found.getFirst().what() + ": " + found.getFirst().why();
  }

  @Test
  void aHostThatHasAllIsNotRefused() {
    assertThat(obstacles("systemd")).isEmpty();
  }

  @Test
  void anOlderSystemdIsRefused() throws IOException {
    write("version", "257.9-1\n");
    assertThat(only()).contains("257.9-1");
  }

  @Test
  void eachSettingThatWouldLoseGuestsIsNamed() throws IOException {
    for (String line : GOOD.lines().limit(4).toList()) {
      String setting = line.substring(0, line.indexOf('='));
      write("unit", GOOD.replace(line, setting + "=other"));
      assertThat(only()).contains("holdfast.service").contains(setting + "=other");
      write("unit", GOOD.replace(line + "\n", ""));
      assertThat(only()).contains(setting + "=unknown");
    }
  }

  @Test
  void aServiceThatIsStoppedWithTheHostIsRefused() throws IOException {
    write("unit", GOOD.replace("Conflicts=", "Conflicts=shutdown.target "));
    assertThat(only()).contains("[shutdown.target]");
    write("unit", GOOD.replace("Requires=", "Requires=srv.mount "));
    assertThat(only()).contains("[srv.mount]");
    write("unit", GOOD.replace("BindsTo=", "BindsTo=dev-vdb.device"));
    assertThat(only()).contains("[dev-vdb.device]");
  }

  @Test
  void anAgentThatIsNoServiceIsRefused() throws IOException {
    assertThat(obstacles("process 12")).singleElement().matches(o -> o.what().equals("the agent"));
    write("proc/self/cgroup", "0::/user.slice/session-1.scope\n");
    assertThat(only()).startsWith("the agent");
  }

  @Test
  void anAgentThatNothingStartsIsRefused() throws IOException {
    write("unit", GOOD.replace("WantedBy=multi-user.target", "WantedBy="));
    assertThat(only()).contains("nothing starts it");
    write(
        "unit",
        GOOD.replace("WantedBy=multi-user.target", "WantedBy=")
            .replace("UpheldBy=", "UpheldBy=a.target"));
    assertThat(obstacles("systemd")).isEmpty();
  }

  @Test
  void anAgentWhereTheShutdownDoesNotFindItIsRefused() {
    Path other = Path.of("/run/other");
    assertThat(obstacles("systemd", other, other.resolve("agent.sock")))
        .singleElement()
        .matches(o -> o.why().contains("/run/other"));
    assertThat(obstacles("systemd", RUN, Path.of("/run/agent")))
        .singleElement()
        .matches(o -> o.why().contains("/run/agent"));
  }

  @Test
  void aHostThatGoesBackIntoAnInitramfsIsRefused() throws IOException {
    write("dracut-shutdown.service", "ActiveState=active\n");
    assertThat(only()).startsWith("dracut-shutdown.service").contains("initramfs");
    write("dracut-shutdown.service", "ActiveState=inactive\n");
    assertThat(obstacles("systemd")).isEmpty();
    write("run/initramfs/shutdown", "");
    assertThat(only()).startsWith("/run/initramfs/shutdown");
  }

  @Test
  void aVmElsewhereIsRefused() throws IOException {
    write("proc/77/cgroup", "0::/machine.slice/qemu-1-web.scope\n");
    assertThat(only()).contains("77").contains("qemu-1-web.scope");
  }

  @Test
  void whatIsNotInstalledIsNamed() throws IOException {
    Files.delete(root.resolve("usr/lib/systemd/system-shutdown/holdfast"));
    assertThat(only()).contains("system-shutdown/holdfast");
    program("usr/lib/systemd/system-shutdown/holdfast", "#!/bin/sh\n");
    Files.delete(root.resolve("usr/bin/varlinkctl"));
    assertThat(only()).contains("varlinkctl");
  }

  @Test
  void aSystemdThatDoesNotAnswerIsRefused() throws IOException {
    program("systemctl", "#!/bin/sh\necho 'Failed to connect'\nexit 1\n");
    assertThat(only()).contains("Failed to connect");
  }
}
