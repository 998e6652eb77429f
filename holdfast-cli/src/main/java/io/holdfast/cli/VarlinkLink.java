package io.holdfast.cli;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/** A Varlink connection, whose failures become words that a user can act on. */
final class VarlinkLink implements Link {
  private final VarlinkClient client;
  private final String trying;

  private VarlinkLink(VarlinkClient client, String trying) {
    this.client = client;
    this.trying = trying;
  }

  /**
   * Connects to the agent.
   *
   * @param trying what for, as the messages of failures begin
   * @throws Failure with {@link Exit#NO_AGENT} if nobody listens on the socket
   */
  static VarlinkLink connect(Path socket, String trying) {
    try {
      return new VarlinkLink(VarlinkClient.connect(Linux.system(), socket), trying);
    } catch (VarlinkConnectionException e) {
      throw switch (errno(e)) {
        case ENOENT, ECONNREFUSED ->
            new Failure(
                Exit.NO_AGENT,
                "io.holdfast.cli.NoAgent",
                trying
                    + ": no agent listens on "
                    + socket
                    + ". Start it with: holdfast agent; or name the socket of one that runs with --socket");
        case EACCES, EPERM ->
            new Failure(
                Exit.FAILED,
                "io.holdfast.cli.NotAllowed",
                trying
                    + ": this user may not connect to "
                    + socket
                    + ". Run the command as root or as the agent's own user");
        default ->
            new Failure(
                Exit.FAILED,
                "io.holdfast.cli.NotConnected",
                trying + ": " + String.valueOf(e.getMessage()));
      };
    }
  }

  private static Errno errno(VarlinkConnectionException e) {
    return e.getCause() instanceof SystemCallException failed ? failed.errno() : Errno.UNKNOWN;
  }

  @Override
  public JsonObject call(String method, JsonObject parameters) {
    try {
      return client.call(method, parameters);
    } catch (VarlinkException e) {
      throw answered(e);
    } catch (VarlinkConnectionException e) {
      throw lost(e);
    }
  }

  @Override
  public Reply request(String method, JsonObject parameters, Fd... descriptors) {
    try {
      return client.call(method, parameters, List.of(descriptors));
    } catch (VarlinkException e) {
      throw answered(e);
    } catch (VarlinkConnectionException e) {
      throw lost(e);
    }
  }

  @Override
  public void stream(String method, JsonObject parameters, Consumer<JsonObject> each) {
    try {
      client.callMore(method, parameters, List.of(), reply -> each.accept(reply.parameters()));
    } catch (VarlinkException e) {
      throw answered(e);
    } catch (VarlinkConnectionException e) {
      throw lost(e);
    }
  }

  /** What the agent said, in its own words where it has some; the protocol's errors have none. */
  private Failure answered(VarlinkException e) {
    Optional<String> message =
        e.parameters().get("message").filter(String.class::isInstance).map(String.class::cast);
    Optional<String> field =
        e.parameters().get("field").filter(String.class::isInstance).map(String.class::cast);
    String said =
        message
            .map(text -> field.map(name -> name + ": ").orElse("") + text)
            .orElseGet(
                () ->
                    switch (e.error()) {
                      case "org.varlink.service.PermissionDenied" ->
                          "the agent lets only root and its own user call it. Run the command as one of them";
                      case "org.varlink.service.MethodNotFound",
                          "org.varlink.service.InterfaceNotFound",
                          "org.varlink.service.MethodNotImplemented",
                          "org.varlink.service.InvalidParameter" ->
                          "the agent does not know "
                              + e.method()
                              + " in this form. Are the agent and this command of the same version?"
                              + " See: holdfast status and holdfast --version";
                      default -> "the agent answered " + e.error() + " " + e.parameters();
                    });
    return new Failure(Exit.FAILED, e.error(), trying + ": " + said);
  }

  private Failure lost(VarlinkConnectionException e) {
    return new Failure(
        Exit.FAILED,
        "io.holdfast.cli.ConnectionLost",
        trying
            + ": the connection to the agent ended before its answer ("
            + e.getMessage()
            + "). Running VMs continue without the agent; a guest that an update has paused waits for it."
            + " Start it again with: holdfast agent; it completes or undoes what it was doing, see:"
            + " holdfast status");
  }

  @Override
  public void close() {
    client.close();
  }
}
