package io.holdfast.kexec.depart;

import io.holdfast.kexec.manifest.Bridge;
import io.holdfast.kexec.manifest.Clock;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import io.holdfast.store.BoxId;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * What an update of the kernel would preserve if it began now: the boxes, in the order and under
 * the sessions and tokens that it would give them.
 *
 * @param boxes in that order
 */
public record Preview(List<Box> boxes) {
  private static final LateLogger LOG = new LateLogger(Preview.class);

  /** Copies the list. */
  public Preview {
    boxes = List.copyOf(boxes);
  }

  /**
   * A box and the session that it would become. An entry's token is its place in the list, counted
   * from 1.
   *
   * @param session the session's name
   * @param labels of its entries, in the order in which they would be preserved
   */
  public record Box(BoxId id, String session, List<String> labels) {
    /** Copies the list. */
    public Box {
      labels = List.copyOf(labels);
    }
  }

  /** Has a preview made, box by box. */
  public static final class Builder {
    private final List<Box> boxes = new ArrayList<>();

    /** Begins with no box. */
    public Builder() {}

    /** Adds the next box. */
    public Builder box(BoxId id, List<String> labels) {
      boxes.add(new Box(id, Outgoing.sessionName(id, boxes.size() + 1), labels));
      return this;
    }

    /** All boxes that were added. */
    public Preview build() {
      return new Preview(boxes);
    }
  }

  /**
   * The manifest that would say so. It has no journal yet, and its clocks are 0: nothing has
   * departed.
   *
   * @param update the id of the update, or what stands for one
   * @param bridgeNames the bridges that VMs are plugged into; one that is gone is left out
   */
  public byte[] manifest(Linux linux, String update, Set<String> bridgeNames) {
    List<Manifest.CrossedBox> crossed = new ArrayList<>();
    for (Box box : boxes) {
      List<Manifest.CrossedEntry> entries = new ArrayList<>();
      for (String label : box.labels()) {
        entries.add(new Manifest.CrossedEntry(label, entries.size() + 1L));
      }
      crossed.add(new Manifest.CrossedBox(box.id(), box.session(), entries));
    }
    List<Bridge> bridges = new ArrayList<>();
    for (String name : bridgeNames) {
      try {
        bridges.add(Bridge.of(linux, name));
      } catch (IOException | SystemCallException e) {
        LOG.get().log(System.Logger.Level.DEBUG, "no bridge " + name, e);
      }
    }
    Clock nowhere = new Clock(0, 0, 0, 0);
    int size = new Manifest(update, nowhere, crossed, bridges, 0, 0).toBlob().length;
    return new Manifest(update, nowhere, crossed, bridges, size, 0).toBlob();
  }
}
