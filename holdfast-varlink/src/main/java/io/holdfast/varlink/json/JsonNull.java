package io.holdfast.varlink.json;

/** JSON's {@code null}, which is a value, and so is not Java's null. */
public enum JsonNull {
  /** The only one. */
  NULL;

  @Override
  public String toString() {
    return "null";
  }
}
