package io.holdfast.vm.channel;

import io.holdfast.linux.Linux;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.VmId;
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
   * @param device the id of its device
   * @param socket where it listens; at most 107 bytes
   */
  public Port(Linux linux, DescriptorStore store, VmId vm, String device, Path socket) {
    super(linux, store, vm, device, OUTPUT_BUFFER);
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
