package io.holdfast.cli;

import io.holdfast.linux.Fd;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.json.JsonObject;
import java.util.function.Consumer;

/** A connection to the agent, on which one call runs at a time. */
interface Link extends AutoCloseable {
  /**
   * Calls a method and waits for its reply.
   *
   * @throws Failure if the agent answers with an error or goes away
   */
  JsonObject call(String method, JsonObject parameters);

  /**
   * As {@link #call}, with the descriptors that come along; the reply is the caller's to close.
   *
   * @param descriptors sent along; borrowed
   * @throws Failure if the agent answers with an error or goes away
   */
  Reply request(String method, JsonObject parameters, Fd... descriptors);

  /**
   * Calls a method with "more".
   *
   * @param each given every reply as it comes
   * @throws Failure if the agent answers with an error or goes away
   */
  void stream(String method, JsonObject parameters, Consumer<JsonObject> each);

  @Override
  void close();
}
