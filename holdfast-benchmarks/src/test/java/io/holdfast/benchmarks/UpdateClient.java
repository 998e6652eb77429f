package io.holdfast.benchmarks;

import io.holdfast.linux.Linux;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.util.List;

/**
 * Asks for an update as the command does, in a process of its own, to be killed: SOCKET VM QEMU.
 */
final class UpdateClient {
  private UpdateClient() {}

  public static void main(String[] args) {
    try (VarlinkClient client = VarlinkClient.connect(Linux.system(), Path.of(args[0]))) {
      client.callMore(
          "io.holdfast.Update.Vmm",
          JsonObject.of("name", args[1], "qemu", args[2]),
          List.of(),
          reply -> System.out.println(reply.parameters()));
    }
  }
}
