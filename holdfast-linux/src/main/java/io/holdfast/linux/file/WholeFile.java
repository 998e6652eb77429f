package io.holdfast.linux.file;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Writes files as a whole: whoever reads one finds what was there before, or all that is new. */
public final class WholeFile {
  private WholeFile() {}

  /**
   * Makes or replaces a file.
   *
   * @throws IOException if it cannot be written, such as on a full file system; it is as before
   *     then, and nothing else is left
   */
  public static void write(Path file, byte[] bytes) throws IOException {
    Path aside = file.resolveSibling(file.getFileName() + ".new");
    OutputStream out = Files.newOutputStream(aside);
    boolean done = false;
    try {
      try (out) {
        out.write(bytes);
      }
      Files.move(aside, file, StandardCopyOption.ATOMIC_MOVE);
      done = true;
    } finally {
      if (!done) {
        Files.deleteIfExists(aside);
      }
    }
  }

  /** Likewise, with text. */
  public static void write(Path file, String text) throws IOException {
    write(file, text.getBytes(StandardCharsets.UTF_8));
  }

  /** Removes a file if it is there; that it can't be is logged only. */
  public static void deleteQuietly(Path file) {
    try {
      Files.deleteIfExists(file);
    } catch (IOException e) {
      // A leftover of some bytes in the run directory harms nobody, and hides no better error.
      System.getLogger(WholeFile.class.getName())
          .log(System.Logger.Level.DEBUG, "left over: " + file, e);
    }
  }
}
