package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Readiness;
import io.holdfast.linux.SystemCallException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Set;

/**
 * A console's host end: the log, and those who watch it. A viewer is sent what is in the log, from
 * an offset of its choice on, as fast as it reads; who falls behind so far that it is gone from the
 * log is sent away, and learns from its next attachment what it missed.
 */
final class Viewers implements Sink {
  /** Each is a descriptor of the agent's, and a part of what its thread looks at in each turn. */
  static final int MOST = 32;

  private static final class Viewer {
    final Fd socket;
    long at;

    Viewer(Fd socket, long at) {
      this.socket = socket;
      this.at = at;
    }
  }

  private final ChannelDescriptors kept;
  private final Log log;
  private final Fd out;
  private final List<Viewer> viewers = new ArrayList<>();

  Viewers(ChannelDescriptors kept, Log log, Fd out) {
    this.kept = kept;
    this.log = log;
    this.out = out;
  }

  Log log() {
    return log;
  }

  /** Whether there are as many viewers as there may be. */
  synchronized boolean full() {
    return viewers.size() >= MOST;
  }

  /**
   * Adds a viewer.
   *
   * @param socket what it is sent to; ownership is taken
   */
  synchronized void add(Fd socket, long from) {
    kept.linux().nonblocking(socket);
    viewers.add(new Viewer(socket, from));
  }

  @Override
  public Map<String, Fd> packed() {
    return Map.of(log.crossingLabel(), log.packed());
  }

  @Override
  public boolean room() {
    return true;
  }

  @Override
  public synchronized void want(Map<Fd, Set<Readiness>> wanted) {
    long end = log.end();
    for (Viewer each : viewers) {
      wanted.put(each.socket, each.at < end ? Set.of(Readiness.WRITABLE) : Set.of());
    }
  }

  @Override
  public void take() {
    log.take(out);
    // At once: who keeps up must not miss anything, however fast the log begins anew.
    serve(Map.of());
  }

  @Override
  public synchronized void serve(Map<Fd, Set<Readiness>> ready) {
    Iterator<Viewer> all = viewers.iterator();
    while (all.hasNext()) {
      Viewer each = all.next();
      boolean gone = ready.getOrDefault(each.socket, Set.of()).contains(Readiness.HUNG_UP);
      if (gone || !sent(each)) {
        each.socket.close();
        all.remove();
      }
    }
  }

  /** Sends what there is; false if the viewer can't be served any more. */
  private boolean sent(Viewer viewer) {
    try {
      OptionalLong at = log.send(viewer.socket, viewer.at);
      at.ifPresent(offset -> viewer.at = offset);
      return at.isPresent();
    } catch (SystemCallException e) {
      System.getLogger(Viewers.class.getName()).log(System.Logger.Level.DEBUG, "a viewer left", e);
      return false;
    }
  }

  @Override
  public void end() {
    log.remove();
  }

  @Override
  public synchronized void close() {
    viewers.forEach(each -> each.socket.close());
    viewers.clear();
    log.close();
  }
}
