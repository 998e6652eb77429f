package io.holdfast.core.state;

/**
 * A state refused an operation or a transition. The message says which state, what was tried on
 * what, and what would allow it.
 */
public final class RefusedException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final String tried;
  private final String state;
  private final String remedy;

  /**
   * Something is not allowed in a state.
   *
   * @param tried what was tried
   * @param state in which
   * @param remedy what to do
   */
  public RefusedException(String tried, String state, String remedy) {
    super(tried + " is refused in state " + state + ": " + remedy);
    this.tried = tried;
    this.state = state;
    this.remedy = remedy;
  }

  /** What was tried, and on what. */
  public String tried() {
    return tried;
  }

  /** The name of the state that refused it. */
  public String state() {
    return state;
  }

  /** What would allow it, for people. */
  public String remedy() {
    return remedy;
  }
}
