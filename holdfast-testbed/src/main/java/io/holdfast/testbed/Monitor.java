package io.holdfast.testbed;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** QEMU's monitor for people, asked by a program: text in, text out. */
final class Monitor {
  private static final String PROMPT = "(qemu) ";
  private static final int PATIENCE = 200;
  private static final long POLL_MILLIS = 10;

  private Monitor() {}

  /**
   * Gives a command and returns what is answered.
   *
   * @throws IOException if nobody answers
   */
  static String ask(Path socket, String command) throws IOException {
    try (SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX)) {
      channel.connect(UnixDomainSocketAddress.of(socket));
      channel.configureBlocking(false);
      String _ = untilPrompt(channel);
      channel.write(ByteBuffer.wrap((command + "\n").getBytes(StandardCharsets.UTF_8)));
      return untilPrompt(channel);
    }
  }

  private static String untilPrompt(SocketChannel channel) throws IOException {
    StringBuilder said = new StringBuilder();
    ByteBuffer buffer = ByteBuffer.allocate(1 << 16);
    for (int i = 0; i < PATIENCE; i++) {
      buffer.clear();
      int count = channel.read(buffer);
      if (count < 0) {
        break;
      }
      said.append(StandardCharsets.UTF_8.decode(buffer.flip()));
      // The line is echoed with control sequences; what matters follows.
      if (said.indexOf(PROMPT) >= 0 && said.toString().endsWith(PROMPT)) {
        return said.toString();
      }
      Inside.sleep(POLL_MILLIS);
    }
    throw new IOException("QEMU's monitor does not answer");
  }
}
