package io.holdfast.linux;

import java.util.List;

/**
 * What one receive brought.
 *
 * @param bytes how many bytes of the buffer were filled; 0 when the other side has closed or shut
 *     down
 * @param descriptors what came along, close-on-exec, owned by the caller
 */
public record Received(int bytes, List<Fd> descriptors) {
  /** Copies the list. */
  public Received {
    descriptors = List.copyOf(descriptors);
  }

  /** Whether the other side has closed or shut down, so that nothing comes any more. */
  public boolean end() {
    return bytes == 0;
  }

  /** Closes the descriptors. */
  public void closeDescriptors() {
    descriptors.forEach(Fd::close);
  }
}
