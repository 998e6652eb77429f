package io.holdfast.kexec.session;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The descriptor store of a real systemd, which stores an open file once, and acknowledges a second
 * descriptor of it that it drops.
 */
@Promise("agent-can-die")
final class SystemdStoreTest {
  private static final String SYSTEMD = "/usr/lib/systemd/systemd";

  /** A user's systemd with a control group and a run directory of its own. */
  private static final String SCRIPT =
      """
      set -e
      mount -t tmpfs none /run
      mount -t cgroup2 none /sys/fs/cgroup
      mkdir -p /run/systemd/system /run/user/systemd/user
      export XDG_RUNTIME_DIR=/run/user
      cp "$DIRECTORY/steps.service" /run/user/systemd/user/
      printf '[Unit]\\n' >/run/user/systemd/user/basic.target
      %s --user --unit=basic.target --log-target=console --log-level=warning &
      for i in $(seq 300); do [ ! -e /run/user/systemd/private ] || break; sleep 0.1; done
      systemctl --user start --no-block steps.service
      for i in $(seq 600); do
        [ "$(cat "$DIRECTORY/steps" 2>/dev/null | wc -l)" -lt 5 ] || exit 0
        sleep 0.1
      done
      systemctl --user status steps.service
      exit 1
      """
          .formatted(SYSTEMD);

  @TempDir Path directory;

  @Test
  void keepsAnOpenFileThatIsStoredAgain() throws IOException, InterruptedException {
    assumeTrue(Files.isExecutable(Path.of(SYSTEMD)), "there is no systemd");
    Files.writeString(
        directory.resolve("steps.service"),
        """
        [Unit]
        StartLimitIntervalSec=0
        [Service]
        NotifyAccess=main
        FileDescriptorStoreMax=16
        Restart=always
        RestartSec=0
        # Before 254 systemd does not say it by itself.
        Environment=FDSTORE=16
        ExecStart=%s -XX:+UseSerialGC --enable-native-access=ALL-UNNAMED -cp %s %s %s
        """
            .formatted(
                Path.of(System.getProperty("java.home"), "bin", "java"),
                System.getProperty("java.class.path"),
                StoreSteps.class.getName(),
                directory));
    Path log = directory.resolve("log");
    ProcessBuilder builder =
        new ProcessBuilder(
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--cgroup",
                "sh",
                "-c",
                SCRIPT)
            .redirectErrorStream(true)
            .redirectOutput(log.toFile());
    builder.environment().put("DIRECTORY", directory.toString());
    Process systemd = builder.start();
    try {
      boolean ended = systemd.waitFor(100, TimeUnit.SECONDS);
      String said = Files.readString(log);
      assumeTrue(!said.contains("unshare failed"), "this user may not make namespaces");
      assertThat(ended && systemd.exitValue() == 0).as(said).isTrue();
    } finally {
      systemd.destroyForcibly().waitFor();
    }
    String stored = "@box/a/x=7 @box/b/y=7 @leaving/boot-a/holdfast=session";
    assertThat(Files.readAllLines(directory.resolve("steps")).subList(0, 5))
        .containsExactly(
            "",
            stored,
            "@leaving/boot-a/holdfast=session",
            "@box/came/holdfast=3 @leaving/boot-a/holdfast=session",
            "@box/came/holdfast=3");
  }
}
