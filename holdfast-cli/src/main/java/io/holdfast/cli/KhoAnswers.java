package io.holdfast.cli;

import io.holdfast.kho.Defect;
import io.holdfast.kho.Handover;
import io.holdfast.kho.LiveHost;
import io.holdfast.kho.LuoState;
import io.holdfast.kho.LuoState.PreservedFile;
import io.holdfast.kho.LuoState.Session;
import io.holdfast.kho.Memfd;
import io.holdfast.kho.Ownership;
import io.holdfast.kho.PreservedBlock;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** What {@code holdfast kho} prints for programs. Sizes are in bytes, addresses numbers. */
final class KhoAnswers {
  private KhoAnswers() {}

  static JsonObject show(Handover handover) {
    return JsonObject.of(
        "version",
        handover.state().format().version(),
        "stateTree",
        handover.state().address(),
        "found",
        handover.start().how(),
        "release",
        handover.metadata().map(each -> each.release()),
        "kexecs",
        handover.metadata().map(each -> (long) each.kexecs()),
        "luo",
        handover
            .luo()
            .map(
                each ->
                    JsonObject.of(
                        "version",
                        each.format().version(),
                        "updates",
                        each.updates(),
                        "sessions",
                        (long) each.sessions().size(),
                        "objects",
                        array(
                            each.objects().stream()
                                .map(one -> JsonObject.of("name", one.name(), "files", one.files()))
                                .toList()))),
        "subTrees",
        array(
            handover.state().subTrees().stream()
                .map(
                    each ->
                        JsonObject.of(
                            "name", each.name(), "address", each.address(), "size", each.size()))
                .toList()),
        "regions",
        array(
            handover.regions().stream()
                .map(
                    each ->
                        JsonObject.of(
                            "name",
                            each.name(),
                            "address",
                            each.range().address(),
                            "size",
                            each.range().size()))
                .toList()),
        "scratch",
        handover.start().scratch().map(KhoAnswers::ranges),
        "preserved",
        handover.map().pages() * MemoryRange.PAGE,
        "blocks",
        handover.map().blocks(),
        "nodes",
        (long) handover.nodes());
  }

  static JsonObject live(LiveHost host) {
    return JsonObject.of(
        "outgoing",
        blobs(host.outgoingBlobs()),
        "cameByHandover",
        host.incoming().isPresent(),
        "incoming",
        blobs(host.incomingBlobs()),
        "scratch",
        ranges(host.scratch()),
        "notKnown",
        JsonArray.copyOf(host.notKnown()));
  }

  private static JsonArray blobs(List<LiveHost.Blob> blobs) {
    return array(
        blobs.stream()
            .map(each -> JsonObject.of("name", each.name(), "size", each.size()))
            .toList());
  }

  static JsonObject memory(Handover handover) {
    List<JsonObject> orders = new ArrayList<>();
    for (int order = 0; order <= PreservedBlock.MAX_ORDER; order++) {
      if (handover.map().blocks(order) > 0) {
        orders.add(JsonObject.of("order", (long) order, "blocks", handover.map().blocks(order)));
      }
    }
    List<JsonObject> owners = new ArrayList<>();
    for (Ownership.Share each : handover.ownership().shares()) {
      owners.add(
          JsonObject.of(
              "owner", each.owner().toString(), "blocks", each.blocks(), "size", each.size()));
    }
    return JsonObject.of(
        "memory",
        ranges(handover.memory().ranges()),
        "scratch",
        handover.start().scratch().map(KhoAnswers::ranges),
        "preserved",
        handover.map().pages() * MemoryRange.PAGE,
        "orders",
        array(orders),
        "owners",
        array(owners),
        "unknown",
        handover.ownership().unknown() * MemoryRange.PAGE);
  }

  private static JsonArray ranges(List<MemoryRange> ranges) {
    return array(
        ranges.stream()
            .map(each -> JsonObject.of("address", each.address(), "size", each.size()))
            .toList());
  }

  private static JsonArray array(List<JsonObject> objects) {
    return JsonArray.copyOf(objects);
  }

  static JsonObject sessions(Handover handover) {
    List<JsonObject> sessions = new ArrayList<>();
    for (Session session : handover.luo().map(LuoState::sessions).orElse(List.of())) {
      sessions.add(
          JsonObject.of(
              "name",
              session.name(),
              "files",
              array(session.files().stream().map(KhoAnswers::file).toList())));
    }
    return JsonObject.of("sessions", array(sessions));
  }

  private static JsonObject file(PreservedFile file) {
    Optional<Memfd> memfd =
        file.state() instanceof Memfd read ? Optional.of(read) : Optional.empty();
    return JsonObject.of(
        // A string: it may be more than a program's numbers hold.
        "token",
        KhoRender.token(file),
        "kind",
        file.handler(),
        "size",
        memfd.map(Memfd::size),
        "position",
        memfd.map(Memfd::position),
        "seals",
        memfd.map(each -> JsonArray.copyOf(KhoRender.seals(each.seals()))),
        "folios",
        memfd.map(each -> each.folios().count()),
        "unread",
        memfd.isPresent() ? Optional.empty() : Optional.of(KhoRender.state(file)));
  }

  static JsonObject verification(Handover.Verification found) {
    List<JsonObject> violations = new ArrayList<>();
    for (Defect each : found.defects()) {
      violations.add(
          JsonObject.of(
              "rule",
              each.rule().name(),
              "address",
              each.address(),
              "where",
              each.where(),
              "found",
              each.found(),
              "expected",
              each.expected()));
    }
    return JsonObject.of("count", found.count(), "violations", array(violations));
  }
}
