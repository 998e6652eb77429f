package io.holdfast.varlink;

/** A Varlink interface definition cannot be read; the message says where and why. */
public final class InterfaceSyntaxException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final int line;
  private final int column;

  InterfaceSyntaxException(int line, int column, String message) {
    super("line " + line + ", column " + column + ": " + message);
    this.line = line;
    this.column = column;
  }

  /** The line of the trouble, from 1. */
  public int line() {
    return line;
  }

  /** The column of the trouble in its line, from 1, in characters. */
  public int column() {
    return column;
  }
}
