package io.holdfast.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Errors say which call, on what, which error, and what to do. */
class ErrorsTest {
  private final Linux linux = Linux.system();

  @Test
  @Promise("linux-layer")
  void numbersAreThoseOfTheKernelsHeaders() throws IOException {
    Map<String, Integer> headers = new TreeMap<>();
    for (String name : List.of("errno-base.h", "errno.h")) {
      Path header = Path.of("/usr/include/asm-generic", name);
      assumeTrue(Files.exists(header), () -> header + " is missing: install linux-libc-dev");
      for (String line : Files.readAllLines(header)) {
        Matcher m = Pattern.compile("#define\\s+(E\\w+)\\s+(\\d+).*").matcher(line);
        if (m.matches()) {
          headers.put(m.group(1), Integer.valueOf(m.group(2)));
        }
      }
    }
    Map<String, Integer> ours = new TreeMap<>();
    for (Errno e : Errno.values()) {
      if (e != Errno.UNKNOWN) {
        ours.put(e.name(), e.number());
        assertThat(Errno.of(e.number())).isEqualTo(e);
        assertThat(e.text()).isNotBlank();
      }
    }
    assertThat(ours).isEqualTo(headers).hasSizeGreaterThan(130);
    assertThat(List.of(Errno.of(0), Errno.of(-1), Errno.of(41), Errno.of(9999)))
        .containsOnly(Errno.UNKNOWN);
  }

  @Test
  @Promise("linux-layer")
  void messageNamesCallObjectErrorAndRemedy(@TempDir Path directory) {
    Path missing = directory.resolve("missing");
    SystemCallException e = failure(() -> linux.open(missing));
    assertThat(e.call()).isEqualTo(Call.OPEN);
    assertThat(e.errno()).isEqualTo(Errno.ENOENT);
    assertThat(e.object()).isEqualTo(missing.toString());
    assertThat(e)
        .hasMessage(
            "open "
                + missing
                + ": ENOENT (No such file or directory). There is no such path: check its spelling and that what makes"
                + " it has run.");
  }

  @Test
  void anErrorWithoutANameIsShownByNumber() {
    Linux odd = new Linux(new ScriptedKernel((call, nth) -> java.util.OptionalLong.of(-530)));
    SystemCallException e = failure(() -> odd.memfd("a", 1));
    assertThat(e.errno()).isEqualTo(Errno.UNKNOWN);
    assertThat(e).hasMessageContaining("memfd a (error 530)");
  }

  @ParameterizedTest
  @CsvSource({
    "MEMFD_CREATE, EMFILE, ulimit -n",
    "OPEN, ENFILE, file-max",
    "OPEN, EACCES, permissions",
    "SCHED_SETSCHEDULER, EPERM, root",
    "MMAP, ENOMEM, nr_hugepages",
    "MMAP, EPERM, seal",
    "POSIX_SPAWNP, ENOENT, no such program",
    "POSIX_SPAWNP, EACCES, chmod",
    "POSIX_SPAWNP, ENOEXEC, architecture",
    "POSIX_SPAWNP, ETXTBSY, open for writing",
    "POSIX_SPAWNP, ENOMEM, memory",
    "BIND, EADDRINUSE, remove the file",
    "CONNECT, ECONNREFUSED, Nobody listens",
    "CONNECT, ENAMETOOLONG, 107",
    "SENDMSG, EPIPE, other side",
    "SENDMSG, ETOOMANYREFS, ulimit -n",
    "PIDFD_OPEN, ESRCH, has ended",
    "PIDFD_GETFD, EPERM, ptrace_scope",
    "PIDFD_GETFD, EMFILE, ulimit -n",
    "FCNTL, EBUSY, unmap",
  })
  @Promise("linux-layer")
  void adviceFitsTheCall(Call call, Errno errno, String says) {
    assertThat(SystemCallException.failed(call, -errno.number(), "it")).hasMessageContaining(says);
  }

  @Test
  @Promise("linux-layer")
  void everyAdviceIsSentences() {
    List<String> odd = new ArrayList<>();
    for (Call call : Call.values()) {
      for (Errno errno : Errno.values()) {
        String advice = Advice.on(call, errno);
        if (!advice.isEmpty()
            && !(Character.isUpperCase(advice.charAt(0)) && advice.endsWith("."))) {
          odd.add(call + " " + errno + ": " + advice);
        }
      }
    }
    assertThat(odd).isEmpty();
  }

  private static SystemCallException failure(
      org.assertj.core.api.ThrowableAssert.ThrowingCallable call) {
    return catchThrowableOfType(SystemCallException.class, call);
  }
}
