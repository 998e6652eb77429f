package io.holdfast.agent;

import io.holdfast.core.journal.UpdateId;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.file.WholeFile;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.regex.Pattern;

/**
 * The reports of updates that have ended, a file each. One that cannot be written, such as on a
 * full file system, is written later; until then this process shows it all the same.
 */
final class ReportStore {
  private static final LateLogger LOG = new LateLogger(ReportStore.class);
  private static final int MOST = 500;

  private final Path directory;
  private final Retries retries;

  /** By file name. */
  private final TreeMap<String, JsonObject> unwritten = new TreeMap<>();

  private boolean retrying;

  ReportStore(Path directory, Retries retries) {
    this.directory = directory;
    this.retries = retries;
  }

  /** Keeps the report of an update, in place of an earlier one of it. */
  void keep(UpdateId id, JsonObject report) {
    synchronized (this) {
      unwritten.put(id + Reports.SUFFIX, report);
      while (unwritten.size() > MOST) {
        var _ = unwritten.pollFirstEntry();
      }
    }
    try {
      boolean _ = write();
    } catch (IOException | RuntimeException e) {
      // What was done is done, and whoever asked for it is told.
      LOG.get().log(System.Logger.Level.WARNING, "the report of update " + id + " is not kept", e);
      retry();
    }
  }

  private synchronized void retry() {
    if (!retrying) {
      retrying = true;
      retries.add("writing reports", this::write);
    }
  }

  /** Writes what is not written yet; one that cannot be written does not keep others from it. */
  private synchronized boolean write() throws IOException {
    Optional<IOException> failure = Optional.empty();
    for (Map.Entry<String, JsonObject> each : new TreeMap<>(unwritten).entrySet()) {
      try {
        WholeFile.write(directory.resolve(each.getKey()), each.getValue().pretty());
        unwritten.remove(each.getKey());
      } catch (IOException e) {
        failure = Optional.of(e);
      }
    }
    if (failure.isPresent()) {
      throw failure.get();
    }
    retrying = false;
    List<String> all = names();
    for (String old : all.subList(0, Math.max(0, all.size() - MOST))) {
      Files.deleteIfExists(directory.resolve(old));
    }
    return true;
  }

  /** The names of the files, the oldest first: ids begin with the time of day. */
  private List<String> names() throws IOException {
    List<String> names = new ArrayList<>();
    try (DirectoryStream<Path> files = Files.newDirectoryStream(directory, "*" + Reports.SUFFIX)) {
      files.forEach(file -> names.add(file.getFileName().toString()));
    }
    unwritten.keySet().stream().filter(name -> !names.contains(name)).forEach(names::add);
    names.sort(null);
    return names;
  }

  /**
   * Returns all reports, the oldest first. Of one that cannot be read the outcome is {@code
   * unknown}.
   *
   * @throws IOException if the directory cannot be read
   */
  synchronized List<JsonObject> all() throws IOException {
    return names().stream().map(this::read).toList();
  }

  /**
   * Returns the reports of the last updates of a VM that completed.
   *
   * @param idName what the ids of its updates have as its name
   * @param most how many at most
   * @throws IOException if the directory cannot be read
   */
  synchronized List<JsonObject> completed(String vm, String idName, int most) throws IOException {
    Pattern ids =
        Pattern.compile(
            "\\d{8}-\\d{6}-" + Pattern.quote(idName) + "-\\d+" + Pattern.quote(Reports.SUFFIX));
    List<String> names = names().stream().filter(name -> ids.matcher(name).matches()).toList();
    return names.reversed().stream()
        .map(this::read)
        .filter(report -> report.string("target").equals(vm))
        .filter(report -> report.string("outcome").equals("completed"))
        .limit(most)
        .toList();
  }

  private JsonObject read(String name) {
    JsonObject report = unwritten.get(name);
    return report == null ? Reports.kept(directory.resolve(name)) : report;
  }
}
