package io.holdfast.core;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.TreeMap;

/** What the successor is told: all boxes and participants. */
public interface Manifest {
  /** The boxes. */
  List<BoxNode> boxes();

  /** The participants, those that others depend on first. */
  List<ParticipantNode> participants();

  /**
   * One box.
   *
   * @param entries by label, in the order they were put in
   */
  record BoxNode(String name, String owner, SequencedMap<String, EntryNode> entries) {
    /** Copies the map. */
    public BoxNode {
      entries = Collections.unmodifiableSequencedMap(new LinkedHashMap<>(entries));
    }
  }

  /** One entry. */
  sealed interface EntryNode {
    /** A descriptor, by its kind; the carrier says how to get it. */
    record Descriptor(String kind) implements EntryNode {}

    /** A blob, with its bytes. */
    record Blob(Entry.Blob blob) implements EntryNode {}
  }

  /**
   * One participant.
   *
   * @param after the names of those that it depends on, sorted
   * @param facts what it recorded in this update
   */
  record ParticipantNode(String name, List<String> after, Map<String, String> facts) {
    /** Copies both. */
    public ParticipantNode {
      after = List.copyOf(after);
      facts = Collections.unmodifiableMap(new TreeMap<>(facts));
    }
  }

  /** A manifest in memory. */
  record Of(List<BoxNode> boxes, List<ParticipantNode> participants) implements Manifest {
    /** Copies the lists. */
    public Of {
      boxes = List.copyOf(boxes);
      participants = List.copyOf(participants);
    }
  }

  /** Describes a box as it is now. */
  static BoxNode describe(Box box) {
    SequencedMap<String, EntryNode> entries = new LinkedHashMap<>();
    box.entries()
        .forEach(
            (label, entry) ->
                entries.put(
                    label,
                    switch (entry) {
                      case Entry.Descriptor descriptor ->
                          new EntryNode.Descriptor(descriptor.kind());
                      case Entry.Blob blob -> new EntryNode.Blob(blob);
                    }));
    return new BoxNode(box.name(), box.owner(), entries);
  }
}
