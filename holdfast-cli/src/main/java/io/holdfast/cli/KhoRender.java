package io.holdfast.cli;

import io.holdfast.kho.Handover;
import io.holdfast.kho.LiveHost;
import io.holdfast.kho.LuoState;
import io.holdfast.kho.LuoState.PreservedFile;
import io.holdfast.kho.LuoState.Session;
import io.holdfast.kho.LuoState.Unread;
import io.holdfast.kho.Memfd;
import io.holdfast.kho.Ownership;
import io.holdfast.kho.PreservedBlock;
import io.holdfast.kho.ReservedRegion;
import io.holdfast.kho.StateTree;
import io.holdfast.kho.memory.MemoryRange;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** What {@code holdfast kho} shows to people. */
final class KhoRender {
  private static final List<String> SEALS =
      List.of("seal", "shrink", "grow", "write", "future-write", "exec");

  private KhoRender() {}

  static String show(Handover handover) {
    StringBuilder text = new StringBuilder();
    line(
        text,
        "state tree",
        "%s at 0x%x, found %s"
            .formatted(
                handover.state().format().version(),
                handover.state().address(),
                handover.start().how()));
    line(
        text,
        "handed over by",
        handover
            .metadata()
            .map(each -> "%s, kernel %d in a row".formatted(each.release(), each.kexecs()))
            .orElse("it does not say"));
    Optional<LuoState> luo = handover.luo();
    line(
        text,
        "live update",
        luo.map(
                each ->
                    "%s, number %d: %s, %s"
                        .formatted(
                            each.format().version(),
                            each.updates(),
                            counted(each.sessions().size(), "session"),
                            counted(
                                each.sessions().stream().mapToInt(s -> s.files().size()).sum(),
                                "file")))
            .orElse("none"));
    for (LuoState.FileBoundObject each : luo.map(LuoState::objects).orElse(List.of())) {
      line(
          text,
          "file-bound object",
          "%s, for %s".formatted(each.name(), counted(each.files(), "file")));
    }
    for (ReservedRegion each : handover.regions()) {
      line(
          text,
          "reserved region",
          "%s: %s, %s".formatted(each.name(), each.range(), Size.text(each.range().size())));
    }
    for (StateTree.SubTree each : handover.state().subTrees()) {
      line(
          text,
          "sub-tree",
          "%s: %d bytes at 0x%x".formatted(each.name(), each.size(), each.address()));
    }
    scratch(text, handover.start().scratch());
    line(
        text,
        "preserved",
        "%s in %d blocks; the map itself takes %d pages"
            .formatted(
                Size.text(handover.map().pages() * MemoryRange.PAGE),
                handover.map().blocks(),
                handover.nodes()));
    return text.toString();
  }

  private static String counted(long count, String what) {
    return count + " " + what + (count == 1 ? "" : "s");
  }

  private static void scratch(StringBuilder text, Optional<List<MemoryRange>> areas) {
    if (areas.isEmpty()) {
      line(text, "scratch", "not known");
    }
    for (MemoryRange each : areas.orElse(List.of())) {
      line(text, "scratch", "%s, %s".formatted(each, Size.text(each.size())));
    }
  }

  private static void line(StringBuilder text, String what, String value) {
    text.append("%-18s %s\n".formatted(what, Table.clean(value)));
  }

  static String live(LiveHost host) {
    StringBuilder text = new StringBuilder();
    for (LiveHost.Blob each : host.outgoingBlobs()) {
      line(text, "outgoing sub-tree", "%s: %d bytes".formatted(each.name(), each.size()));
    }
    line(text, "came by handover", host.incoming().isPresent() ? "yes" : "no");
    for (LiveHost.Blob each : host.incomingBlobs()) {
      line(text, "incoming sub-tree", "%s: %d bytes".formatted(each.name(), each.size()));
    }
    scratch(text, Optional.of(host.scratch()));
    text.append("\nNot known:\n");
    host.notKnown().forEach(each -> text.append("- ").append(Table.clean(each)).append('\n'));
    return text.toString();
  }

  static String memory(Handover handover) {
    Table orders =
        new Table(
            Table.Column.right("ORDER"), Table.Column.right("BLOCKS"), Table.Column.right("SIZE"));
    for (int order = 0; order <= PreservedBlock.MAX_ORDER; order++) {
      long blocks = handover.map().blocks(order);
      if (blocks > 0) {
        orders.row(
            Integer.toString(order),
            Long.toString(blocks),
            Size.text((blocks << order) * MemoryRange.PAGE));
      }
    }
    Table owners =
        new Table(
            Table.Column.left("FOR"), Table.Column.right("BLOCKS"), Table.Column.right("SIZE"));
    for (Ownership.Share each : handover.ownership().shares()) {
      owners.row(each.owner().toString(), Long.toString(each.blocks()), Size.text(each.size()));
    }
    if (handover.ownership().unknown() > 0) {
      owners.row(
          "nobody that is known", "", Size.text(handover.ownership().unknown() * MemoryRange.PAGE));
    }
    StringBuilder text = new StringBuilder();
    scratch(text, handover.start().scratch());
    return orders.text() + "\n" + owners.text() + "\n" + text;
  }

  static String sessions(Handover handover) {
    List<Session> sessions = handover.luo().map(LuoState::sessions).orElse(List.of());
    if (sessions.isEmpty()) {
      return handover.luo().isPresent()
          ? "No sessions: none was made, or they are not written yet, which the reboot call does.\n"
          : "No live update: the kernel has none, or it is not switched on (liveupdate=on).\n";
    }
    Table table =
        new Table(
            Table.Column.left("FILE"),
            Table.Column.left("KIND"),
            Table.Column.right("SIZE"),
            Table.Column.right("FOLIOS"),
            Table.Column.left("MORE"));
    for (Session session : sessions) {
      if (session.files().isEmpty()) {
        table.row(session.name() + "/", "", "", "", "no files");
      }
      for (PreservedFile file : session.files()) {
        boolean memfd = file.state() instanceof Memfd;
        table.row(
            session.name() + "/" + token(file),
            file.handler(),
            file.state() instanceof Memfd read ? Size.text(read.size()) : "",
            memfd ? Long.toString(((Memfd) file.state()).folios().count()) : "",
            state(file));
      }
    }
    return table.text();
  }

  /** A token as people write it: unsigned. */
  static String token(PreservedFile file) {
    return Long.toUnsignedString(file.token());
  }

  static String state(PreservedFile file) {
    return switch (file.state()) {
      case Memfd memfd ->
          "position "
              + memfd.position()
              + (memfd.seals() == 0 ? "" : ", seals " + String.join(" ", seals(memfd.seals())));
      case Unread unread -> unread.reason();
    };
  }

  static List<String> seals(int bits) {
    List<String> names = new ArrayList<>();
    for (int i = 0; i < SEALS.size(); i++) {
      if ((bits & (1 << i)) != 0) {
        names.add(SEALS.get(i));
      }
    }
    return names;
  }

  static String verification(Handover.Verification found) {
    if (!found.clean()) {
      return counted(found.count(), "violation")
          + (found.count() > found.defects().size()
              ? ", the first " + found.defects().size() + " of them:\n"
              : ":\n");
    }
    return "Nothing is wrong"
        + found
            .handover()
            .map(
                each ->
                    ": %s, %s, %s"
                            .formatted(
                                counted(each.map().blocks(), "block"),
                                counted(each.map().pages(), "page"),
                                counted(
                                    each.luo().map(luo -> luo.sessions().size()).orElse(0),
                                    "session"))
                        + (each.start().scratch().isEmpty()
                            ? "; scratch areas are not known, so whether one is preserved was not checked"
                            : ""))
            .orElse("")
        + ".\n";
  }
}
