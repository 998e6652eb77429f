package io.holdfast.vm.channel;

import io.holdfast.linux.Linux;
import io.holdfast.store.Keeper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;

/** A named port of a guest, such as its agent's: a socket on the host, for one client at a time. */
public final class Port extends Channel {
  /** What waits fits into a pipe, in however small pieces. */
  private static final int OUTPUT_BUFFER = 32 << 10;

  private final Path path;
  private Optional<Client> client = Optional.empty();

  /**
   * A port; nothing is opened yet.
   *
   * @param label what the keeper has it under: {@code VM/CHANNEL}
   * @param socket where it listens; at most 107 bytes
   */
  public Port(Linux linux, Keeper keeper, String label, Path socket) {
    super(linux, keeper, label, OUTPUT_BUFFER);
    this.path = socket;
  }

  @Override
  Sink open(Line opened) throws IOException {
    Client made = Client.open(kept(), opened, path);
    client = Optional.of(made);
    return made;
  }

  @Override
  Sink sink() {
    return client.orElseThrow(() -> new IllegalStateException("not open: " + path));
  }
}
