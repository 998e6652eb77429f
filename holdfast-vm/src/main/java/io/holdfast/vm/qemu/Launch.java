package io.holdfast.vm.qemu;

import io.holdfast.linux.Linux;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * How binaries are run that are only asked or tried.
 *
 * @param scratch a directory for what they print
 * @param credentials what they may do on the host, as for a VM whose QEMU is another user's; the
 *     same as the agent if empty
 */
public record Launch(Linux linux, Path scratch, Optional<Credentials> credentials) {
  /** With the agent's own credentials. */
  public Launch(Linux linux, Path scratch) {
    this(linux, scratch, Optional.empty());
  }

  /**
   * The whole command.
   *
   * @throws IOException if the agent's own credentials can't be read
   */
  public List<String> command(List<String> words) throws IOException {
    if (credentials.isEmpty()) {
      return words;
    }
    int agent = Math.toIntExact(ProcessHandle.current().pid());
    List<String> command = new ArrayList<>(credentials.get().before(Credentials.of(agent)));
    command.addAll(words);
    return command;
  }
}
