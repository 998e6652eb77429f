package io.holdfast.cli;

import io.holdfast.cli.Answers.AgentStatus;
import io.holdfast.cli.Answers.Report;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.NoSuchFileException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.function.Supplier;

/**
 * The tree of {@code holdfast debugfs}: which names there are, and what is behind them. The agent
 * is asked each time, on a connection of its own, so that an agent that went away is no more than
 * an error until the next one is there.
 */
final class DebugfsTree {
  private static final String BOXES = "boxes";
  private static final String VMS = "vms";
  private static final List<String> ROOT =
      List.of("state", "manifest", "preserved", "timeline", BOXES, VMS);

  private static final List<String> FOLDERS = List.of(BOXES, VMS);

  private final Linux linux;
  private final Supplier<Link> agent;
  private final ConcurrentMap<String, Pinned> pins = new ConcurrentHashMap<>();

  /**
   * Makes a tree.
   *
   * @param agent connects to it
   */
  DebugfsTree(Linux linux, Supplier<Link> agent) {
    this.linux = linux;
    this.agent = agent;
  }

  /**
   * Whether there is a folder at a path; where there is none may be a file. Those that are always
   * there need no agent.
   *
   * @param path from the tree's root, which is {@code /}
   * @throws NoSuchFileException if there is neither
   * @throws IOException if the agent can't be asked
   */
  boolean isFolder(String path) throws IOException {
    List<String> names = names(path);
    if (!names.isEmpty() && !ROOT.contains(names.getFirst())) {
      throw new NoSuchFileException(path);
    }
    boolean below = names.size() < 2 || FOLDERS.contains(names.getFirst());
    if (!below || names.size() > 3) {
      throw new NoSuchFileException(path);
    }
    return switch (names.size()) {
      case 0 -> true;
      case 1 -> FOLDERS.contains(names.getFirst());
      case 2 -> !box(path).entries().isEmpty();
      default -> false;
    };
  }

  /**
   * The names in a folder.
   *
   * @throws NoSuchFileException if there is none at this path
   * @throws IOException if the agent can't be asked
   */
  List<String> list(String path) throws IOException {
    List<String> names = names(path);
    return switch (names.size()) {
      case 0 -> ROOT;
      case 1 -> boxes(path, names.getFirst()).stream().map(Box::name).toList();
      case 2 -> box(path).entries().stream().map(Entry::label).toList();
      default -> throw new NoSuchFileException(path);
    };
  }

  /** The file at a path; whether there is one turns out when it is looked at. */
  Pinned file(String path) {
    return pins.computeIfAbsent(path, _ -> new Pinned(() -> content(path)));
  }

  /** Lets go of what nobody has looked at lately. */
  void tidy() {
    pins.forEach(
        (path, pinned) -> {
          if (pinned.retire()) {
            pins.remove(path, pinned);
          }
        });
  }

  private static List<String> names(String path) {
    List<String> names = new ArrayList<>();
    for (String name : path.split("/", -1)) {
      if (!name.isEmpty()) {
        names.add(name);
      }
    }
    return names;
  }

  private Content content(String path) throws IOException {
    List<String> names = names(path);
    if (names.size() == 3) {
      return names.getFirst().equals(BOXES)
          ? entry(path, names.get(1), names.get(2))
          : description(path, names.get(2));
    }
    return switch (path) {
      case "/state" -> new Content.Bytes(state());
      case "/manifest" -> manifest();
      case "/preserved" -> new Content.Bytes(DebugfsRender.preserved(held()));
      case "/timeline" -> new Content.Bytes(timeline());
      default -> throw new NoSuchFileException(path);
    };
  }

  private Content entry(String path, String box, String label) throws IOException {
    try (Link link = agent.get();
        Reply reply =
            link.request("io.holdfast.Box.Get", JsonObject.of("box", box, "label", label));
        Fd memfd =
            reply.descriptors().take(Math.toIntExact(reply.parameters().number("descriptor")))) {
      return new Content.Memfd(linux, memfd);
    } catch (Failure | JsonException e) {
      throw failed(path, e);
    }
  }

  private Content manifest() throws IOException {
    try (Link link = agent.get();
        Reply reply = link.request("io.holdfast.Debug.Manifest", JsonObject.empty());
        Fd memfd =
            reply.descriptors().take(Math.toIntExact(reply.parameters().number("descriptor")));
        Content.Memfd content = new Content.Memfd(linux, memfd)) {
      // Each is a memfd of its own: only their bytes tell whether two say the same.
      ByteBuffer bytes = ByteBuffer.allocate((int) content.size());
      int read = content.read(bytes, 0);
      return new Content.Bytes(Arrays.copyOf(bytes.array(), read));
    } catch (Failure | JsonException e) {
      throw failed("/manifest", e);
    }
  }

  private Content description(String path, String label) throws IOException {
    Box box = box(path.substring(0, path.lastIndexOf('/')));
    return box.entries().stream()
        .filter(each -> each.label().equals(label))
        .findFirst()
        .map(each -> new Content.Bytes(DebugfsRender.entry(box, each)))
        .orElseThrow(() -> new NoSuchFileException(path));
  }

  private String state() throws IOException {
    JsonObject status = ask("/state", "io.holdfast.Agent.Status");
    AgentStatus agentStatus = AgentStatus.of(status);
    return DebugfsRender.state(
        agentStatus,
        Instant.now().minusMillis(agentStatus.uptime()),
        Answers.each(ask("/state", "io.holdfast.Debug.UnderWay"), "reports", Report::of));
  }

  private String timeline() throws IOException {
    List<Report> reports = new ArrayList<>();
    // In this order: one that ends in between is seen twice, not never.
    List<Report> underWay =
        Answers.each(ask("/timeline", "io.holdfast.Debug.UnderWay"), "reports", Report::of);
    reports.addAll(
        Answers.each(ask("/timeline", "io.holdfast.Update.List"), "reports", Report::of));
    reports.addAll(underWay);
    return DebugfsRender.timeline(reports);
  }

  // What the agent says of boxes.

  /**
   * {@code io.holdfast.Debug.Entry}.
   *
   * @param bytes its size, if it has one
   * @param present how many of them are there, of a memfd
   * @param token in the session that its box becomes
   */
  record Entry(
      String label,
      String kind,
      Optional<Long> bytes,
      Optional<Long> present,
      Optional<Long> token) {
    static Entry of(JsonObject json) {
      return new Entry(
          json.string("label"),
          json.string("kind"),
          number(json, "bytes"),
          number(json, "present"),
          number(json, "token"));
    }

    /** Under a name that a file may have, as sysfs has it: some labels have a slash in them. */
    Entry named() {
      return new Entry(label.replace('/', '!'), kind, bytes, present, token);
    }

    private static Optional<Long> number(JsonObject json, String key) {
      var number = json.optionalNumber(key);
      return number.isPresent() ? Optional.of(number.getAsLong()) : Optional.empty();
    }
  }

  /**
   * {@code io.holdfast.Debug.Box}.
   *
   * @param session that it becomes
   */
  record Box(String name, Optional<String> session, List<Entry> entries) {
    static Box of(JsonObject json) {
      return new Box(
          json.string("name"),
          json.optionalString("session"),
          Answers.each(json, "entries", Entry::of));
    }
  }

  private List<Box> held() throws IOException {
    return Answers.each(ask("/", "io.holdfast.Debug.Boxes"), "boxes", Box::of);
  }

  private List<Box> vms() throws IOException {
    return held().stream()
        .filter(box -> !box.name().startsWith("@"))
        .map(
            box ->
                new Box(
                    box.name(), box.session(), box.entries().stream().map(Entry::named).toList()))
        .toList();
  }

  private List<Box> boxes() throws IOException {
    return Answers.each(
        ask("/boxes", "io.holdfast.Box.List"),
        "boxes",
        box ->
            new Box(box.string("name"), Optional.empty(), Answers.each(box, "entries", Entry::of)));
  }

  private List<Box> boxes(String path, String folder) throws IOException {
    return switch (folder) {
      case BOXES -> boxes();
      case VMS -> vms();
      default -> throw new NoSuchFileException(path);
    };
  }

  private Box box(String path) throws IOException {
    List<String> names = names(path);
    return boxes(path, names.getFirst()).stream()
        .filter(box -> box.name().equals(names.get(1)))
        .findFirst()
        .orElseThrow(() -> new NoSuchFileException(path));
  }

  private JsonObject ask(String path, String method) throws IOException {
    try (Link link = agent.get()) {
      return link.call(method, JsonObject.empty());
    } catch (Failure e) {
      throw failed(path, e);
    }
  }

  /** What the agent refused by its name is not there; anything else is an error. */
  private static IOException failed(String path, RuntimeException e) {
    if (e instanceof Failure failure && failure.error().startsWith("io.holdfast.Box.")) {
      return new NoSuchFileException(path);
    }
    return new IOException(path + ": " + e.getMessage(), e);
  }
}
