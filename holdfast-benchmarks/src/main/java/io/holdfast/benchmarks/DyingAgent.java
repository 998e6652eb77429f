package io.holdfast.benchmarks;

import io.holdfast.agent.Agent;
import io.holdfast.agent.AgentPaths;
import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.JournalText;
import io.holdfast.core.state.UpdateState;
import io.holdfast.linux.Call;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.Linux;
import io.holdfast.vm.update.VmUpdate;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;

/**
 * An agent that dies, and the VM's successor before it, as soon as an update of a VM is committed:
 * {@code DyingAgent RUN}. The guest stands still then until another agent starts a QEMU for it, as
 * it does after a kexec.
 */
final class DyingAgent {
  private static final int SIGKILL = 9;

  private final Path updates;

  private DyingAgent(Path run) {
    this.updates = run.resolve("updates");
  }

  private long call(Call call, long a, long b, long c, long d, long e, long f) {
    long result = Kernel.system().call(call, a, b, c, d, e, f);
    if (call == Call.WRITE) {
      try {
        dieIfCommitted();
      } catch (IOException x) {
        throw new UncheckedIOException(x);
      }
    }
    return result;
  }

  private void dieIfCommitted() throws IOException {
    try (DirectoryStream<Path> journals = Files.newDirectoryStream(updates, "*.journal")) {
      for (Path journal : journals) {
        List<JournalRecord> records = JournalText.decode(Files.readAllBytes(journal)).records();
        boolean committed =
            records.stream()
                .anyMatch(
                    record ->
                        record instanceof JournalRecord.Entered entered
                            && entered.state() == UpdateState.COMMITTED);
        if (!committed) {
          continue;
        }
        // The rehearsal has none.
        for (JournalRecord record : records) {
          if (record instanceof JournalRecord.Fact fact
              && fact.key().equals(VmUpdate.SUCCESSOR)
              && fact.value().contains("@")) {
            kill(Long.parseLong(fact.value().split("@", 2)[0]));
            kill(ProcessHandle.current().pid());
          }
        }
      }
    }
  }

  private static void kill(long pid) {
    long _ = Kernel.system().call(Call.KILL, pid, SIGKILL, 0, 0, 0, 0);
  }

  /** Runs it until it dies. */
  public static void main(String[] arguments) throws IOException, InterruptedException {
    Path run = Path.of(arguments[0]);
    DyingAgent dying = new DyingAgent(run);
    try (Agent _ =
        new Agent(new Linux(dying::call), new AgentPaths(run, AgentPaths.defaultSocket(run)))) {
      new CountDownLatch(1).await();
    }
  }
}
