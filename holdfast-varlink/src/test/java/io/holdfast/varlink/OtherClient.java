package io.holdfast.varlink;

import io.holdfast.linux.Linux;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Path;

/** A client in a process of its own: for each byte of its input it calls Who on one connection. */
final class OtherClient {
  private OtherClient() {}

  public static void main(String[] args) throws IOException {
    try (VarlinkClient client = VarlinkClient.connect(Linux.system(), Path.of(args[0]))) {
      while (System.in.read() >= 0) {
        long pid = 0;
        try {
          pid = client.call("org.example.test.Who", JsonObject.empty()).number("pid");
        } catch (VarlinkConnectionException e) {
          System.err.println(e.getMessage());
        }
        System.out.println(pid);
      }
    }
  }
}
