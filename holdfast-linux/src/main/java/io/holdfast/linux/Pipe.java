package io.holdfast.linux;

/**
 * A pipe.
 *
 * @param reader the end that is read, owned by whoever holds the pipe
 * @param writer the end that is written, likewise
 */
public record Pipe(Fd reader, Fd writer) implements AutoCloseable {
  /** Closes both ends that are still open here. */
  @Override
  public void close() {
    reader.close();
    writer.close();
  }
}
