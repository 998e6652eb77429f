package io.holdfast.vm.qemu;

import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * What a process may do on its host by credentials(7) and capabilities(7): a successor gets those
 * of its predecessor, never more.
 *
 * @param user its effective user's number
 * @param group its effective group's number
 * @param groups its supplementary groups' numbers
 * @param capabilities the most that it could ever have, as a bit set: those that it may use where
 *     it is root's, else its bounding set
 * @param noNewPrivileges whether it can't get more by executing a program
 */
public record Credentials(
    int user, int group, List<Integer> groups, long capabilities, boolean noNewPrivileges) {
  /** Of util-linux, which every Debian has. */
  private static final String SETPRIV = "setpriv";

  /** Copies the list. */
  public Credentials {
    groups = List.copyOf(groups);
  }

  /**
   * Those of a process, from its {@code /proc/PID/status} (proc(5)).
   *
   * @throws IOException if the process is gone or a line is missing
   */
  public static Credentials of(int pid) throws IOException {
    Path status = Path.of("/proc/" + pid + "/status");
    return parse(Files.readString(status, StandardCharsets.ISO_8859_1), status.toString());
  }

  /** Those in the text of a {@code status}, named {@code where} in errors. */
  static Credentials parse(String status, String where) throws IOException {
    Map<String, String> lines = new HashMap<>();
    status
        .lines()
        .forEach(
            line -> {
              int colon = line.indexOf(':');
              if (colon > 0) {
                lines.put(line.substring(0, colon), line.substring(colon + 1).strip());
              }
            });
    for (String name : List.of("Uid", "Gid", "Groups", "CapPrm", "CapBnd", "NoNewPrivs")) {
      if (!lines.containsKey(name)) {
        throw new IOException(where + " has no line " + name);
      }
    }
    int user = effective(lines.getOrDefault("Uid", ""));
    String most = lines.getOrDefault(user == 0 ? "CapPrm" : "CapBnd", "");
    String groups = lines.getOrDefault("Groups", "");
    return new Credentials(
        user,
        effective(lines.getOrDefault("Gid", "")),
        groups.isEmpty()
            ? List.of()
            : Arrays.stream(groups.split("\\s+", -1)).map(Integer::valueOf).toList(),
        Long.parseUnsignedLong(most, 16),
        lines.getOrDefault("NoNewPrivs", "").equals("1"));
  }

  /** The second of real, effective, saved and file system number. */
  private static int effective(String numbers) {
    return Integer.parseInt(numbers.split("\\s+", -1)[1]);
  }

  /**
   * The words that have to stand before a command for it to run with these, where it would have
   * those of {@code agent}: none if they are the same.
   */
  List<String> before(Credentials agent) {
    if (equals(agent)) {
      return List.of();
    }
    List<String> words = new ArrayList<>(List.of(SETPRIV, "--reuid=" + user, "--regid=" + group));
    words.add(
        groups.isEmpty()
            ? "--clear-groups"
            : "--groups="
                + groups.stream().map(each -> each.toString()).collect(Collectors.joining(",")));
    words.add("--inh-caps=-all");
    // That it ends with the agent's thread, if it is to, which a change of user would end.
    words.add("--pdeathsig=keep");
    List<String> dropped = new ArrayList<>();
    for (int bit = 0; bit < Long.SIZE; bit++) {
      if ((agent.capabilities & ~capabilities & 1L << bit) != 0) {
        dropped.add("-cap_" + bit);
      }
    }
    if (!dropped.isEmpty()) {
      words.add("--bounding-set=" + String.join(",", dropped));
    }
    if (noNewPrivileges) {
      words.add("--no-new-privs");
    }
    words.add("--");
    return words;
  }

  /** As a VM's record has them. */
  public JsonObject toJson() {
    return JsonObject.of(
        "user", user,
        "group", group,
        "groups", groups.stream().map(each -> (long) each).toList(),
        "capabilities", Long.toHexString(capabilities),
        "noNewPrivileges", noNewPrivileges);
  }

  /** Reads what {@link #toJson} wrote. */
  public static Credentials fromJson(JsonObject json) {
    return new Credentials(
        Math.toIntExact(json.number("user")),
        Math.toIntExact(json.number("group")),
        json.array("groups").numbers().stream().map(Math::toIntExact).toList(),
        Long.parseUnsignedLong(json.string("capabilities"), 16),
        json.bool("noNewPrivileges"));
  }

  @Override
  public String toString() {
    return "user " + user + ", group " + group;
  }
}
