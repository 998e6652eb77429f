package io.holdfast.core.state;

/** One cell of the permission table. */
public enum Permission {
  /** Permitted. */
  YES("yes"),
  /** Refused. */
  NO("no"),
  /** Permitted to participants of the update, refused to everyone else. */
  PARTICIPANTS("participants"),
  /** Permitted once every participant has finished. */
  AFTER_FINISH("after finish"),
  /** What is under way may end; nothing new may start. */
  STOPPING("stopping"),
  /** The carrier has no such state. */
  ABSENT("-");

  private final String words;

  Permission(String words) {
    this.words = words;
  }

  /** The cell as it is printed. */
  public String words() {
    return words;
  }
}
