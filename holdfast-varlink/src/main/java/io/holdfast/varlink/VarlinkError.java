package io.holdfast.varlink;

import io.holdfast.varlink.json.JsonObject;

/**
 * Thrown by a method's handler: the call is answered with this error, and the connection lives on.
 */
public final class VarlinkError extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** The interface of the protocol itself. */
  static final String SERVICE = "org.varlink.service";

  private final String name;
  private final transient JsonObject parameters;

  /**
   * An error.
   *
   * @param name its full name, such as {@code io.holdfast.Vm.NoSuchVm}
   * @param parameters as the interface defines them for this error
   */
  public VarlinkError(String name, JsonObject parameters) {
    // Errors are answers, often many; nobody reads where they were thrown.
    super(VarlinkException.readable(name, parameters), null, false, false);
    this.name = name;
    this.parameters = parameters;
  }

  /** One of a call's parameters cannot be right; {@code parameter} is its name or path. */
  public static VarlinkError invalidParameter(String parameter) {
    return new VarlinkError(SERVICE + ".InvalidParameter", JsonObject.of("parameter", parameter));
  }

  /** The caller may not do this. */
  public static VarlinkError permissionDenied() {
    return new VarlinkError(SERVICE + ".PermissionDenied", JsonObject.empty());
  }

  /** The method answers only calls that ask for {@code more} than one reply. */
  public static VarlinkError expectedMore() {
    return new VarlinkError(SERVICE + ".ExpectedMore", JsonObject.empty());
  }

  static VarlinkError internal(String message) {
    return new VarlinkError("io.holdfast.InternalError", JsonObject.of("message", message));
  }

  /** The error's full name. */
  public String name() {
    return name;
  }

  /** Its parameters. */
  public JsonObject parameters() {
    return parameters;
  }
}
