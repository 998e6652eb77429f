package io.holdfast.core.run;

import io.holdfast.core.box.Names;
import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.participant.Participant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/**
 * The graph of the participants of one update.
 *
 * @param <P> the role in which they are called
 */
final class Members<P extends Participant> {
  /** Those that others depend on first; empty if {@link #tangles} is not. */
  private final List<Member<P>> ordered;

  private final List<Obstacle> tangles = new ArrayList<>();

  /** A participant in this update. */
  static final class Member<P extends Participant> {
    final P participant;
    final String name;
    final List<Member<P>> dependencies = new ArrayList<>();
    final List<Member<P>> dependents = new ArrayList<>();

    /** What it recorded in the journal, by key. */
    final Map<String, String> facts = new ConcurrentHashMap<>();

    int index;
    volatile boolean failed;

    /** It, or one that it depends on, failed where the others go on without it. */
    volatile boolean aside;

    // Guarded by the lock of Calls.
    boolean begun;
    @Nullable Thread thread;
    long deadline;
    boolean late;

    Member(P participant) {
      this.participant = participant;
      this.name = Names.check("participant name", participant.name());
    }
  }

  /**
   * Sorts participants so that each comes after those that it depends on.
   *
   * @param gone the names of others that were in this update and need no call any more
   * @throws IllegalArgumentException if a participant's name breaks {@link Names#RULE}
   */
  Members(Collection<? extends P> participants, Set<String> gone) {
    Map<String, Member<P>> byName = new LinkedHashMap<>();
    for (P participant : participants) {
      Member<P> member = new Member<>(participant);
      if (byName.putIfAbsent(member.name, member) != null) {
        tangles.add(
            new Obstacle(member.name, "two participants have this name", "rename one of them"));
      }
    }
    if (byName.isEmpty() && gone.isEmpty()) {
      tangles.add(
          new Obstacle("the update", "it has no participant", "name what is to be updated"));
    }
    for (Member<P> member : byName.values()) {
      for (String name : member.participant.after()) {
        Member<P> dependency = byName.get(name);
        if (dependency != null) {
          member.dependencies.add(dependency);
          dependency.dependents.add(member);
        } else if (!gone.contains(name)) {
          tangles.add(
              new Obstacle(
                  member.name,
                  "it depends on " + name + ", which is not in the update",
                  "update " + name + " too"));
        }
      }
    }
    List<Member<P>> sorted = new ArrayList<>();
    List<Member<P>> left = new ArrayList<>(byName.values());
    while (tangles.isEmpty() && !left.isEmpty()) {
      List<Member<P>> free =
          left.stream().filter(each -> sorted.containsAll(each.dependencies)).toList();
      if (free.isEmpty()) {
        tangles.add(
            new Obstacle(
                String.join(", ", left.stream().map(each -> each.name).toList()),
                "they depend on one another in a circle, or on such a circle",
                "break the circle"));
      }
      for (Member<P> member : free) {
        member.index = sorted.size();
        sorted.add(member);
      }
      left.removeAll(free);
    }
    this.ordered = tangles.isEmpty() ? List.copyOf(sorted) : List.of();
  }

  /** Returns them, those that others depend on first; none if there are {@link #tangles}. */
  List<Member<P>> ordered() {
    return ordered;
  }

  /** Returns why they cannot be sorted. */
  List<Obstacle> tangles() {
    return List.copyOf(tangles);
  }

  List<String> names() {
    return ordered.stream().map(each -> each.name).toList();
  }

  /** Returns {@link Participant#instance} by name, of those that have one. */
  Map<String, String> instances() {
    Map<String, String> instances = new HashMap<>();
    ordered.forEach(
        each -> each.participant.instance().ifPresent(one -> instances.put(each.name, one)));
    return instances;
  }
}
