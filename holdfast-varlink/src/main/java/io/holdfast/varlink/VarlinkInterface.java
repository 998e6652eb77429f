package io.holdfast.varlink;

import io.holdfast.varlink.json.JsonObject;
import java.util.Collections;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * A Varlink interface, as its definition says (https://varlink.org/Interface-Definition): methods
 * with the types of what goes in and out, and errors.
 */
public final class VarlinkInterface {
  record Method(Type.Struct in, Type.Struct out) {}

  private final String name;
  private final String source;
  private final Map<String, Method> methods;
  private final Map<String, Type> types;
  private final Map<String, Type.Struct> errors;

  VarlinkInterface(
      String name,
      String source,
      Map<String, Method> methods,
      Map<String, Type> types,
      Map<String, Type.Struct> errors) {
    this.name = name;
    this.source = source;
    this.methods = methods;
    this.types = types;
    this.errors = errors;
  }

  /**
   * Reads an interface definition.
   *
   * @param source the text of a {@code .varlink} file
   * @throws InterfaceSyntaxException if it is not one: a syntax error, a name that comes twice, or
   *     a type that is referred to and not defined
   */
  public static VarlinkInterface parse(String source) {
    return new InterfaceParser(source).parse();
  }

  /** The interface's name, such as {@code io.holdfast.Vm}. */
  public String name() {
    return name;
  }

  /** The text that it was read from. */
  public String source() {
    return source;
  }

  /**
   * The methods' names without the interface's, such as {@code List}, in the definition's order.
   */
  public Set<String> methods() {
    return Collections.unmodifiableSet(methods.keySet());
  }

  /** The errors' names without the interface's, in the definition's order. */
  public Set<String> errors() {
    return Collections.unmodifiableSet(errors.keySet());
  }

  /**
   * Checks the parameters of a call: none is unknown, none that must be is missing, each is of its
   * type.
   *
   * @param method one of {@link #methods}
   * @return empty if they are right, else the first wrong one as a path, like {@code
   *     definition.disks[0].path}
   * @throws IllegalArgumentException if there is no such method
   */
  public Optional<String> wrongParameter(String method, JsonObject parameters) {
    return Type.misfit(method(method).in(), parameters, "", types);
  }

  /**
   * Checks a reply's parameters, as {@link #wrongParameter} does.
   *
   * @throws IllegalArgumentException if there is no such method
   */
  public Optional<String> wrongReply(String method, JsonObject parameters) {
    return Type.misfit(method(method).out(), parameters, "", types);
  }

  /**
   * Checks an error's parameters, as {@link #wrongParameter} does.
   *
   * @param error one of {@link #errors}
   * @throws IllegalArgumentException if there is no such error
   */
  public Optional<String> wrongError(String error, JsonObject parameters) {
    Type.Struct struct = errors.get(error);
    if (struct == null) {
      throw new IllegalArgumentException("interface " + name + " has no error " + error);
    }
    return Type.misfit(struct, parameters, "", types);
  }

  private Method method(String method) {
    Method found = methods.get(method);
    if (found == null) {
      throw new IllegalArgumentException("interface " + name + " has no method " + method);
    }
    return found;
  }

  @Override
  public String toString() {
    return "interface " + name;
  }
}
