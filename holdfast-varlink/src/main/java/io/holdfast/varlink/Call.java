package io.holdfast.varlink;

import io.holdfast.linux.Fd;
import io.holdfast.linux.PeerCredentials;
import io.holdfast.linux.SystemCallException;
import io.holdfast.varlink.json.JsonObject;
import java.util.List;
import java.util.Optional;

/**
 * A call that a handler answers, in the handler's thread. Its parameters are those that the
 * interface defines for the method, each of its type.
 */
public final class Call {
  private final Connection connection;
  private final VarlinkInterface definition;
  private final String method;
  private final JsonObject parameters;
  private final Descriptors descriptors;
  private final PeerCredentials peer;
  private final boolean more;
  private final boolean oneway;
  private boolean gone;
  private boolean answered;

  Call(
      Connection connection,
      VarlinkInterface definition,
      String method,
      JsonObject parameters,
      Descriptors descriptors,
      PeerCredentials peer,
      boolean more,
      boolean oneway) {
    this.connection = connection;
    this.definition = definition;
    this.method = method;
    this.parameters = parameters;
    this.descriptors = descriptors;
    this.peer = peer;
    this.more = more;
    this.oneway = oneway;
  }

  /** The method's full name, such as {@code io.holdfast.Vm.List}. */
  public String method() {
    return definition.name() + "." + method;
  }

  /** The parameters, checked against the interface. */
  public JsonObject parameters() {
    return parameters;
  }

  /** The descriptors that came along; closed after the call unless they are taken. */
  public Descriptors descriptors() {
    return descriptors;
  }

  /**
   * Takes the descriptor whose index a parameter holds.
   *
   * @param parameter the name of a parameter of type int
   * @return the caller's to close
   * @throws VarlinkError InvalidParameter if no such descriptor came or it was taken already
   */
  public Fd takeDescriptor(String parameter) {
    long index = parameters.optionalNumber(parameter).orElse(-1);
    if (!descriptors.has(index)) {
      throw VarlinkError.invalidParameter(parameter);
    }
    return descriptors.take((int) index);
  }

  /** Who calls, as of when the connection was made. */
  public PeerCredentials peer() {
    return peer;
  }

  /** Whether the caller takes more than one reply. */
  public boolean more() {
    return more;
  }

  /** Whether the caller takes no reply at all; replies and errors go nowhere then. */
  public boolean oneway() {
    return oneway;
  }

  /** As {@link #progress(JsonObject, List)}, without descriptors. */
  public boolean progress(JsonObject parameters) {
    return progress(parameters, List.of());
  }

  /**
   * Sends a reply that others follow. Waits while the caller does not read.
   *
   * @param descriptors sent along; borrowed
   * @return false if the caller is gone; whether to go on with the work is the handler's choice
   * @throws VarlinkError ExpectedMore if the caller did not ask for {@link #more}
   * @throws IllegalStateException after {@link #reply}, or if the interface defines no such reply
   */
  public boolean progress(JsonObject parameters, List<Fd> descriptors) {
    if (!more) {
      throw VarlinkError.expectedMore();
    }
    check(parameters);
    send(JsonObject.of("parameters", parameters, "continues", true), descriptors);
    return !gone;
  }

  /** As {@link #reply(JsonObject, List)}, without descriptors. */
  public void reply(JsonObject parameters) {
    reply(parameters, List.of());
  }

  /**
   * Sends the reply, or of several the last. A handler that returns without it has replied with no
   * parameters. Does nothing if the caller is gone.
   *
   * @param descriptors sent along; borrowed
   * @throws IllegalStateException if there was a reply already, or the interface defines no such
   *     reply for the method
   */
  public void reply(JsonObject parameters, List<Fd> descriptors) {
    check(parameters);
    send(JsonObject.of("parameters", parameters), descriptors);
    answered = true;
  }

  /**
   * Whether the caller is gone: a reply could not be sent, or it has closed its end. A caller that
   * only shut down its sending side counts as gone here, though it gets its replies.
   */
  public boolean clientGone() {
    gone = gone || connection.ended();
    return gone;
  }

  private void check(JsonObject reply) {
    if (answered) {
      throw new IllegalStateException("a second reply to one call of " + method());
    }
    Optional<String> wrong = definition.wrongReply(method, reply);
    if (wrong.isPresent()) {
      throw new IllegalStateException(
          "the reply of " + method() + " is not as its interface says: " + wrong.get());
    }
  }

  /** Sends what the handler's end leaves to be sent: the reply without parameters. */
  void finish() {
    if (!answered) {
      reply(JsonObject.empty());
    }
  }

  /** Answers with an error, unless the answer was sent. */
  void fail(VarlinkError error) {
    if (!answered) {
      send(JsonObject.of("error", error.name(), "parameters", error.parameters()), List.of());
      answered = true;
    }
  }

  private void send(JsonObject message, List<Fd> descriptors) {
    if (oneway || gone) {
      return;
    }
    try {
      connection.write(message, descriptors);
    } catch (SystemCallException e) {
      if (!Connection.isGone(e)) {
        throw e;
      }
      gone = true;
    }
  }
}
