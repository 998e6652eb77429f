package io.holdfast.varlink;

import io.holdfast.varlink.json.JsonObject;
import java.util.Optional;

/** A service answered a call with an error. The connection is good for further calls. */
public final class VarlinkException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final String method;
  private final String error;
  private final transient JsonObject parameters;

  VarlinkException(String method, String error, JsonObject parameters) {
    super(method + ": " + readable(error, parameters));
    this.method = method;
    this.error = error;
    this.parameters = parameters;
  }

  /** The error's own message if it has one, else its name and parameters. */
  static String readable(String error, JsonObject parameters) {
    Optional<String> message =
        parameters.get("message").filter(String.class::isInstance).map(String.class::cast);
    return error + message.map(m -> ": " + m).orElse(parameters.isEmpty() ? "" : " " + parameters);
  }

  /** The full name of the method that was called. */
  public String method() {
    return method;
  }

  /** The error's full name, such as {@code io.holdfast.Vm.NoSuchVm}. */
  public String error() {
    return error;
  }

  /** The error's parameters. */
  public JsonObject parameters() {
    return parameters;
  }
}
