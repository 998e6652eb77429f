package io.holdfast.host.carrier;

import io.holdfast.host.keeper.Keeper;
import io.holdfast.linux.Fd;
import java.io.IOException;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Sessions of the previous kernel in the keeper: those that this kernel's agents put there, under
 * {@code @session/NAME}, and those that systemd brought along, under {@code @leaving/BOOT/NAME}.
 *
 * <p>The latter stay under that label. To be stored under another one, a session would have to be
 * out of systemd's store for a moment: it stores an open file once, and a session can't be opened
 * anew.
 *
 * @param boot the id of this boot: what is leaving from it has not arrived
 */
record KeptSessions(Keeper keeper, String boot) {
  static final String ARRIVED = "@session/";
  static final String LEAVING = "@leaving/";

  /**
   * Those of this boot.
   *
   * @throws IOException if the boot's id can't be read
   */
  static KeptSessions of(Keeper keeper) throws IOException {
    return new KeptSessions(keeper, StoredSessions.boot());
  }

  /** The label of a session that is to leave from a boot. */
  static String leaving(String boot, String name) {
    return LEAVING + boot + "/" + name;
  }

  /** All of them by name, each the caller's. */
  Map<String, Fd> all() {
    Map<String, Fd> all = new HashMap<>();
    labelled()
        .forEach(
            (label, fd) -> {
              Fd twice = all.put(name(label).orElseThrow(), fd);
              if (twice != null) {
                twice.close();
              }
            });
    return all;
  }

  private Map<String, Fd> labelled() {
    Map<String, Fd> found = new HashMap<>();
    keeper
        .kept(LEAVING)
        .forEach(
            (label, fd) -> {
              if (name(label).isPresent()) {
                found.put(label, fd);
              } else {
                fd.close();
              }
            });
    found.putAll(keeper.kept(ARRIVED));
    return found;
  }

  /** The name of a session that has arrived; empty if the label is of something else. */
  Optional<String> name(String label) {
    if (label.startsWith(ARRIVED)) {
      return Optional.of(label.substring(ARRIVED.length()));
    }
    int slash = label.indexOf('/', LEAVING.length());
    return label.startsWith(LEAVING) && slash > 0 && !label.startsWith(leaving(boot, ""))
        ? Optional.of(label.substring(slash + 1))
        : Optional.empty();
  }

  /** One of them, the caller's; empty if it is not there. */
  Optional<Fd> find(String name) {
    Map<String, Fd> all = all();
    Optional<Fd> found = Optional.ofNullable(all.remove(name));
    all.values().forEach(Fd::close);
    return found;
  }

  /**
   * Puts one there that the kernel has made.
   *
   * @param session borrowed
   * @throws RuntimeException if the keeper can't take it; nothing has changed then
   */
  void put(String name, Fd session) {
    keeper.keep(ARRIVED + name, session);
  }

  /** Removes one under each of its labels; one that is not there is no error. */
  void drop(String name) {
    Set<String> labels = new HashSet<>();
    labelled()
        .forEach(
            (label, fd) -> {
              fd.close();
              if (name(label).equals(Optional.of(name))) {
                labels.add(label);
              }
            });
    keeper.drop(labels);
  }
}
