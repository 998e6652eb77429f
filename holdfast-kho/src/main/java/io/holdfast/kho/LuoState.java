package io.holdfast.kho;

import java.util.List;

/**
 * What the Live Update Orchestrator hands over (struct luo_ser).
 *
 * @param format its version
 * @param updates how many live updates the next kernel will have behind it
 * @param sessions in the order in which they were created; none until the reboot call, which writes
 *     them
 * @param objects in the kernel's order; none until the reboot call
 */
public record LuoState(
    Format format, long updates, List<Session> sessions, List<FileBoundObject> objects) {
  /** The sub-tree's name. */
  public static final String SUB_TREE = "LUO";

  /** Copies the lists. */
  public LuoState {
    sessions = List.copyOf(sessions);
    objects = List.copyOf(objects);
  }

  /**
   * A session (struct luo_session_ser).
   *
   * @param name unique
   * @param files in the order in which they were preserved
   */
  public record Session(String name, List<PreservedFile> files) {
    /** Copies the list. */
    public Session {
      files = List.copyOf(files);
    }
  }

  /**
   * A file of a session (struct luo_file_ser).
   *
   * @param token what its owner calls it, unique in the session; an unsigned number
   * @param handler which of the kernel's handlers it belongs to, with its version
   * @param data the handler's own: mostly a physical address
   * @param state what the handler wrote
   */
  public record PreservedFile(long token, String handler, long data, FileState state) {}

  /** What a file's handler wrote. */
  public sealed interface FileState permits Memfd, Unread {}

  /**
   * What was not read, since only its handler knows what it is, or because it is broken.
   *
   * @param reason which of it
   */
  public record Unread(String reason) implements FileState {}

  /**
   * Something that lives as long as files do that need it (struct luo_flb_ser).
   *
   * @param name unique
   * @param data its owner's
   * @param files how many files need it
   */
  public record FileBoundObject(String name, long data, long files) {}
}
