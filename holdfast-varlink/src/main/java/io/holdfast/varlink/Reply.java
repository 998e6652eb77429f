package io.holdfast.varlink;

import io.holdfast.varlink.json.JsonObject;

/**
 * A service's reply to a call.
 *
 * @param parameters what it says
 * @param descriptors what came along, owned by the reply
 * @param continues whether others follow
 */
public record Reply(JsonObject parameters, Descriptors descriptors, boolean continues)
    implements AutoCloseable {
  /** Closes the descriptors that were not taken. */
  @Override
  public void close() {
    descriptors.close();
  }
}
