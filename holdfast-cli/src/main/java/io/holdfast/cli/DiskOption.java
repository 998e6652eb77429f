package io.holdfast.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * The value of {@code --disk}: {@code PATH[,format=raw|qcow2][,readonly][,bus=virtio|scsi]}. As in
 * QEMU's options a comma that belongs to the path is written twice.
 */
record DiskOption(String path, Optional<String> format, boolean readOnly, Optional<String> bus) {

  /**
   * @throws IllegalArgumentException if there is no path, or something after it isn't known or
   *     comes twice
   */
  static DiskOption parse(String text) {
    List<String> parts = split(text);
    String path = parts.getFirst();
    if (path.isEmpty()) {
      throw new IllegalArgumentException(
          "'"
              + text
              + "' names no file: write PATH[,format=raw|qcow2][,readonly][,bus=virtio|scsi]");
    }
    Optional<String> format = Optional.empty();
    boolean readOnly = false;
    Optional<String> bus = Optional.empty();
    for (String part : parts.subList(1, parts.size())) {
      switch (part) {
        case "format=raw", "format=qcow2" -> {
          if (format.isPresent()) {
            throw new IllegalArgumentException("'" + text + "' gives the format twice");
          }
          format = Optional.of(part.substring("format=".length()));
        }
        case "bus=virtio", "bus=scsi" -> {
          if (bus.isPresent()) {
            throw new IllegalArgumentException("'" + text + "' gives the bus twice");
          }
          bus = Optional.of(part.substring("bus=".length()));
        }
        case "readonly" -> {
          if (readOnly) {
            throw new IllegalArgumentException("'" + text + "' says readonly twice");
          }
          readOnly = true;
        }
        default ->
            throw new IllegalArgumentException(
                "'"
                    + part
                    + "' in '"
                    + text
                    + "' is not known: after the path come format=raw, format=qcow2, readonly,"
                    + " bus=virtio or bus=scsi;"
                    + " a comma in the path itself is written twice");
      }
    }
    return new DiskOption(path, format, readOnly, bus);
  }

  private static List<String> split(String text) {
    List<String> parts = new ArrayList<>();
    StringBuilder part = new StringBuilder();
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c != ',') {
        part.append(c);
      } else if (i + 1 < text.length() && text.charAt(i + 1) == ',') {
        part.append(c);
        i++;
      } else {
        parts.add(part.toString());
        part.setLength(0);
      }
    }
    parts.add(part.toString());
    return parts;
  }
}
