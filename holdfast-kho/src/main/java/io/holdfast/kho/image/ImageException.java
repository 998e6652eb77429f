package io.holdfast.kho.image;

import java.nio.file.Path;

/**
 * A file can't be read as a kernel image. Its message names the file, what was tried, and what to
 * do.
 */
public final class ImageException extends Exception {
  private static final long serialVersionUID = 1;

  private final transient Path file;

  ImageException(Path file, String problem, String advice) {
    super("reading the kernel image " + file + ": " + problem + ". " + advice);
    this.file = file;
  }

  ImageException(Path file, String problem, String advice, Throwable cause) {
    this(file, problem, advice);
    initCause(cause);
  }

  /** The file that was to be read. */
  public Path file() {
    return file;
  }
}
