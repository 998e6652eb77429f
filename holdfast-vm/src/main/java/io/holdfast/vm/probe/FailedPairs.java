package io.holdfast.vm.probe;

import io.holdfast.linux.file.WholeFile;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SortedSet;
import java.util.TreeSet;

/**
 * Remembers which QEMU did not load the device state of which other one in a real update, in a file
 * with a line of JSON for each. To try such a pair again, its line is removed.
 *
 * <p>What is damaged in the file is left as it is, and told.
 */
final class FailedPairs {
  /** The file's name. */
  static final String FILE = "failed-pairs";

  private final Path file;

  /**
   * Makes it; nothing is read yet.
   *
   * @param directory of the file
   */
  FailedPairs(Path directory) {
    this.file = directory.resolve(FILE);
  }

  /**
   * Two binaries and what the guest had.
   *
   * @param from the binary that saved the state
   * @param to the one that did not load it
   * @param machine the machine type
   * @param devices the types of all devices
   */
  record Pair(BinaryIdentity from, BinaryIdentity to, String machine, SortedSet<String> devices) {
    JsonObject json() {
      return JsonObject.of(
          "from", json(from), "to", json(to), "machine", machine, "devices", List.copyOf(devices));
    }

    private static JsonObject json(BinaryIdentity identity) {
      return JsonObject.of(
          "file", identity.file(), "size", identity.size(), "modified", identity.modified());
    }

    static Pair of(JsonObject json) {
      return new Pair(
          identity(json.object("from")),
          identity(json.object("to")),
          json.string("machine"),
          new TreeSet<>(json.array("devices").strings()));
    }

    private static BinaryIdentity identity(JsonObject json) {
      return new BinaryIdentity(json.string("file"), json.number("size"), json.number("modified"));
    }
  }

  /**
   * A failure that is remembered.
   *
   * @param when as it was written, in ISO 8601
   * @param why QEMU's own words
   * @param line its line in the file, from 1
   */
  record Failure(Pair pair, String when, String why, int line) {}

  /**
   * What the file holds.
   *
   * @param complaints what of it can't be read, each with the place
   */
  record Contents(List<Failure> failures, List<String> complaints) {
    Contents {
      failures = List.copyOf(failures);
      complaints = List.copyOf(complaints);
    }

    /** The last failure of a pair. */
    Optional<Failure> of(Pair pair) {
      return failures.stream().filter(each -> each.pair().equals(pair)).reduce((_, last) -> last);
    }
  }

  /** The file's path. */
  Path file() {
    return file;
  }

  /** Reads the file; one that can't be read is a complaint. */
  synchronized Contents read() {
    List<Failure> failures = new ArrayList<>();
    List<String> complaints = new ArrayList<>();
    String text;
    try {
      text = new String(Files.readAllBytes(file), StandardCharsets.UTF_8);
    } catch (NoSuchFileException _) {
      return new Contents(failures, complaints);
    } catch (IOException e) {
      return new Contents(failures, List.of(file + " can't be read: " + e));
    }
    int number = 0;
    for (String line : text.split("\n", -1)) {
      number++;
      if (line.isBlank()) {
        continue;
      }
      try {
        JsonObject json = Json.parse(line);
        failures.add(new Failure(Pair.of(json), json.string("when"), json.string("why"), number));
      } catch (JsonException e) {
        complaints.add("line " + number + " of " + file + " is damaged: " + e.getMessage());
      }
    }
    return new Contents(failures, complaints);
  }

  /**
   * Adds a failure; what is in the file already stays as it is.
   *
   * @throws IOException if the file can't be read or written; it is unchanged then
   */
  synchronized void add(Pair pair, String when, String why) throws IOException {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    if (Files.exists(file)) {
      byte[] before = Files.readAllBytes(file);
      all.write(before);
      if (before.length > 0 && before[before.length - 1] != '\n') {
        all.write('\n');
      }
    }
    JsonObject entry = JsonObject.of("when", when, "why", why);
    JsonObject named = pair.json();
    for (String key : named.keys()) {
      entry = entry.with(key, named.get(key).orElseThrow());
    }
    all.write((entry + "\n").getBytes(StandardCharsets.UTF_8));
    WholeFile.write(file, all.toByteArray());
  }
}
