package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.state.UpdateState;
import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class JournalFileTest {
  private final Linux linux = Linux.system();

  @TempDir Path directory;

  @Test
  void leavesNoEmptyJournalThatCouldNotBeOpened() throws IOException {
    Linux scarce =
        new Linux(
            (call, a, b, c, d, e, f) ->
                call == Call.FTRUNCATE
                    ? -Errno.ENFILE.number()
                    : linux.kernel().call(call, a, b, c, d, e, f));
    Path path = directory.resolve("u1.journal");
    assertThatThrownBy(() -> JournalFile.open(scarce, path))
        .isInstanceOf(SystemCallException.class);
    assertThat(path).doesNotExist();
    try (JournalFile journal = JournalFile.open(linux, path)) {
      journal.append(new JournalRecord.Entered(new UpdateId("u1"), UpdateState.PREPARING, 1));
    }
    byte[] before = Files.readAllBytes(path);
    assertThatThrownBy(() -> JournalFile.open(scarce, path))
        .isInstanceOf(SystemCallException.class);
    assertThat(path).hasBinaryContent(before);
  }
}
