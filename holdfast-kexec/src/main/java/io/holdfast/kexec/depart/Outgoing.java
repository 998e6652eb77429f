package io.holdfast.kexec.depart;

import io.holdfast.core.box.CrossingBox;
import io.holdfast.core.state.MemoryMachine;
import io.holdfast.core.state.MemoryOperation;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.kexec.session.SessionHolder;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.LiveUpdate;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.store.BoxId;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/** A box on its way: a session, made when the first thing is put in. Any thread may use it. */
final class Outgoing implements CrossingBox {
  private final Linux linux;
  private final SessionHolder holder;
  private final MemoryMachine memory;
  private final BoxId id;
  private final String sessionName;
  private final List<Manifest.CrossedEntry> entries = new ArrayList<>();
  private Optional<OutgoingSession> session = Optional.empty();

  /**
   * @param holder of its session, besides this
   * @param memory the state of all that the update preserves
   * @param number unique among the boxes of the update
   */
  Outgoing(Linux linux, SessionHolder holder, MemoryMachine memory, BoxId id, int number) {
    this.linux = linux;
    this.holder = holder;
    this.memory = memory;
    this.id = id;
    this.sessionName = sessionName(id, number);
  }

  /** The name of the session that a box becomes; {@code number} as with the constructor. */
  static String sessionName(BoxId id, int number) {
    String wanted = Manifest.SESSION + "/" + id.named().text();
    return wanted.getBytes(StandardCharsets.UTF_8).length <= LiveUpdate.NAME_BYTES
        ? wanted
        : Manifest.SESSION + "/#" + number;
  }

  @Override
  public synchronized void put(String label, Fd fd) {
    memory.begin();
    memory.check(MemoryOperation.PRESERVE, id + ", entry " + label);
    if (session.isEmpty()) {
      OutgoingSession made = linux.liveUpdate().create(sessionName);
      session = Optional.of(made);
      holder.hold(sessionName, made.fd());
    }
    // Before anything is preserved: a token that is not listed could not be used again.
    long bytes = linux.size(fd);
    long token = entries.size() + 1L;
    session.get().preserve(fd, token);
    entries.add(new Manifest.CrossedEntry(label, token, OptionalLong.of(bytes)));
  }

  @Override
  public synchronized void undo() {
    if (session.isPresent()) {
      memory.check(MemoryOperation.UNPRESERVE, session.get().fd().what());
      session.get().close();
      holder.letGo(sessionName);
    }
    session = Optional.empty();
    entries.clear();
  }

  synchronized Manifest.CrossedBox crossed() {
    return new Manifest.CrossedBox(id, sessionName, entries);
  }
}
