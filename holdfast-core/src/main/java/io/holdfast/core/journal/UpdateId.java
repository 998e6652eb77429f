package io.holdfast.core.journal;

import io.holdfast.core.box.Names;

/** Names one run of the update state machine; keeps to {@link Names#RULE}. */
public record UpdateId(String value) {
  /** Checks the name. */
  public UpdateId {
    Names.check("update id", value);
  }

  @Override
  public String toString() {
    return value;
  }
}
