package io.holdfast.kho;

/** What preserved memory is for. */
public sealed interface Owner {
  /** The state tree. */
  record Tree() implements Owner {
    @Override
    public String toString() {
      return "state tree";
    }
  }

  /**
   * A blob that the state tree points to.
   *
   * @param name its node's name
   */
  record Blob(String name) implements Owner {
    @Override
    public String toString() {
      return "sub-tree " + name;
    }
  }

  /** The orchestrator's own lists of sessions, files and objects. */
  record Lists() implements Owner {
    @Override
    public String toString() {
      return "sessions and files";
    }
  }

  /**
   * The content of a session's file.
   *
   * @param session the session's name
   * @param token the file's
   */
  record Content(String session, long token) implements Owner {
    @Override
    public String toString() {
      return "session %s, file %s".formatted(session, Long.toUnsignedString(token));
    }
  }

  /**
   * What describes a session's file: its state, and where its content is.
   *
   * @param session the session's name
   * @param token the file's
   */
  record Description(String session, long token) implements Owner {
    @Override
    public String toString() {
      return "session %s, file %s, its description"
          .formatted(session, Long.toUnsignedString(token));
    }
  }

  /**
   * A reserved region.
   *
   * @param name its name
   */
  record Region(String name) implements Owner {
    @Override
    public String toString() {
      return "reserve_mem " + name;
    }
  }
}
