package io.holdfast.kexec.arrive;

import io.holdfast.core.box.CrossingBox;
import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.JournalText;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Target;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import io.holdfast.kexec.depart.Departure;
import io.holdfast.kexec.manifest.Bridge;
import io.holdfast.kexec.manifest.Clock;
import io.holdfast.kexec.manifest.KernelLog;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.kexec.session.KeptSessions;
import io.holdfast.kexec.session.SessionGuard;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.Protection;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.WholeFile;
import io.holdfast.store.BoxId;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.VmId;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/**
 * What came from the previous kernel. Unpacking it leaves the descriptor store and the run
 * directory as an agent does that died after a commit: whoever recovers that brings the VMs back.
 *
 * <p>Nothing is lost if the agent dies on the way. A session's descriptor is shared with an idle
 * process ({@link Linux#shareDescriptors}) from the moment on that the kernel makes it, until the
 * descriptor store has it; what was retrieved from it can be retrieved again until it is finished;
 * and it is finished when all participants have resumed.
 */
public final class Arrival {
  private static final LateLogger LOG = new LateLogger(Arrival.class);

  /** When unpacking began, in nanoseconds since the reboot call. */
  private final long elapsed;

  /** The same moment by {@link System#nanoTime}, which counts from this kernel's start. */
  private final long began;

  private final long unpacking;

  private final Unpacking unpacker;

  private Arrival(long elapsed, long began, long unpacking, Unpacking unpacker) {
    this.elapsed = elapsed;
    this.began = began;
    this.unpacking = unpacking;
    this.unpacker = unpacker;
  }

  /** Where things of the run directory are. */
  public interface Places {
    /** The run directory. */
    Path run();

    /** A VM's directory. */
    Path vm(String name);

    /** The directory of the updates' journals. */
    Path updates();
  }

  /**
   * Unpacks what the previous kernel left, if it left anything. A box that cannot be unpacked is
   * set aside ({@link #aside}), and the others are unpacked.
   *
   * @param guard closed when this returns or throws, unless a session is open in this process only
   * @return empty if there is nothing that has yet to be finished
   * @throws IOException if it can't be unpacked, or it can't be told whether there is anything;
   *     what there is is held, and the next agent tries again
   */
  public static Optional<Arrival> unpack(
      Linux linux, DescriptorStore store, SessionGuard guard, Places places) throws IOException {
    return unpack(linux, store, guard, places, ArrivedSessions.Host.REAL);
  }

  /**
   * As {@link #unpack(Linux, DescriptorStore, SessionGuard, Places)}, on a host that a test makes.
   */
  public static Optional<Arrival> unpack(
      Linux linux,
      DescriptorStore store,
      SessionGuard guard,
      Places places,
      ArrivedSessions.Host host)
      throws IOException {
    long began = System.nanoTime();
    KeptSessions kept = KeptSessions.of(store);
    ArrivedSessions sessions =
        new ArrivedSessions(linux, kept, guard, places.run().resolve("settled"), host);
    try {
      Optional<IncomingSession> main = sessions.main();
      if (main.isEmpty()) {
        return Optional.empty();
      }
      try (IncomingSession session = main.get()) {
        Optional<Fd> manifest = manifest(session);
        if (manifest.isPresent()) {
          return Optional.of(
              unpack(new Unpacking(linux, store, sessions, places), manifest.get(), began));
        }
        kept.drop(Manifest.SESSION);
        sessions.settle();
        return Optional.empty();
      }
    } finally {
      sessions.release();
    }
  }

  /**
   * What tells of all the rest; empty if an agent that died had let the kernel drop the session
   * already, as it does when all participants have resumed.
   */
  private static Optional<Fd> manifest(IncomingSession main) throws IOException {
    try {
      return Optional.of(main.retrieve(Manifest.TOKEN));
    } catch (SystemCallException e) {
      if (e.errno() == Errno.ENOENT) {
        return Optional.empty();
      }
      throw new IOException(
          "the manifest, which tells what arrived from the previous kernel, cannot be restored: "
              + ArrivedSessions.sentence(e)
              + " So the agent does not start; the sessions are preserved. Start it again. If the"
              + " kernel could not rebuild the manifest, only a reboot helps, which discards all"
              + " that arrived",
          e);
    }
  }

  /** Owns the manifest. */
  private static Arrival unpack(Unpacking unpacking, Fd memfd, long began) throws IOException {
    Linux linux = unpacking.linux();
    try (memfd;
        Mapping mapping = linux.map(memfd, 0, linux.size(memfd), Protection.READ)) {
      Manifest manifest = Manifest.of(mapping.segment());
      Path journal =
          unpacking.places().updates().resolve(new UpdateId(manifest.update()) + ".journal");
      Clock now = Clock.now(linux);
      if (Files.exists(journal)) {
        unpacking.again(manifest);
      } else {
        // The journal is written last: as long as there is none, all of this is done again.
        unpacking.all(manifest);
        manifest.bridges().forEach(bridge -> make(linux, bridge));
        MemorySegment text =
            mapping.segment().asSlice(manifest.journalAt(), manifest.journalBytes());
        WholeFile.write(journal, arrived(text.toArray(ValueLayout.JAVA_BYTE), now, manifest));
      }
      long elapsed = now.after(manifest.departed()) - (now.monotonic() - began);
      return new Arrival(elapsed, began, System.nanoTime() - began, unpacking);
    } catch (IndexOutOfBoundsException e) {
      throw new IOException("the manifest from the previous kernel names what is not in it", e);
    }
  }

  /**
   * Returns why a box is set aside: it is in its session, in the descriptor store, and nothing of
   * it may be used, ended or removed.
   *
   * @param box a VM's whatever its instance
   * @return empty if it is not set aside
   */
  public Optional<String> aside(BoxId box) {
    return unpacker.aside(box);
  }

  /** Returns what is set aside, VMs' boxes {@linkplain BoxId#named by name}, and why. */
  public Map<BoxId, String> aside() {
    return unpacker.aside();
  }

  /**
   * Tries again to unpack what is set aside.
   *
   * @return the boxes that are unpacked now, VMs' {@linkplain BoxId#named by name}
   * @throws IOException if that cannot be written down; all are as they were then
   */
  public Set<BoxId> retry() throws IOException {
    return unpacker.retry();
  }

  /**
   * Gives up what is set aside: it is discarded when the update ends.
   *
   * @param box a VM's whatever its instance, or a service's, of which all that is in the descriptor
   *     store is dropped
   * @return false if it is not set aside
   * @throws IOException if that cannot be written down; it is as it was then
   */
  public boolean giveUp(BoxId box) throws IOException {
    return unpacker.giveUp(box);
  }

  /** Without it a VM that is in it does not come up, and says so; nothing is lost. */
  private static void make(Linux linux, Bridge bridge) {
    try {
      boolean _ = bridge.make(linux);
    } catch (SystemCallException e) {
      LOG.get()
          .log(
              System.Logger.Level.ERROR, "bridge " + bridge.name() + " could not be made again", e);
    }
  }

  /** The journal on this kernel's time axis; it has left the other one. */
  private static byte[] arrived(byte[] text, Clock now, Manifest manifest) {
    ByteArrayOutputStream journal = new ByteArrayOutputStream();
    long shift = now.shift(manifest.departed());
    List<JournalRecord> records = new ArrayList<>(JournalText.decode(text).records());
    UpdateId update = new UpdateId(manifest.update());
    records.replaceAll(each -> each.shifted(shift));
    records.add(
        new JournalRecord.Entered(
            update, UpdateState.HANDED_OVER, manifest.departed().monotonic() + shift));
    records.forEach(each -> journal.writeBytes(JournalText.encode(each)));
    return journal.toByteArray();
  }

  /**
   * Does with a manifest and a journal of nothing what is done with those that arrive, and asks for
   * a session's memory where there is none: what all of that needs is loaded then.
   *
   * @param participants what the journal says took part
   * @return the records of that journal
   * @throws IOException never, unless manifests are not read as they are written
   */
  public static List<JournalRecord> rehearse(
      Linux linux, UpdateId update, List<String> participants) throws IOException {
    Clock now = Clock.now(linux);
    byte[] journal =
        JournalText.encode(
            new JournalRecord.Began(
                update, CarrierKind.KEXEC, Instant.now(), participants, Map.of()));
    Manifest manifest =
        new Manifest(
            update.toString(),
            now,
            participants.stream()
                .map(
                    name ->
                        new Manifest.CrossedBox(
                            VmId.named(name),
                            Manifest.SESSION + "/" + name,
                            List.of(new Manifest.CrossedEntry(CrossingBox.RECORD, 1))))
                .toList(),
            List.of(),
            0,
            journal.length);
    byte[] blob = manifest.toBlob();
    Manifest read;
    try (Fd memfd = linux.memfd("rehearsal", 0)) {
      linux.write(memfd, MemorySegment.ofArray(blob));
      try (Mapping mapping = linux.map(memfd, 0, blob.length, Protection.READ)) {
        read = Manifest.of(mapping.segment());
      }
      try (IncomingSession none = linux.liveUpdate().adoptIncoming(memfd.duplicate())) {
        none.retrieve(Manifest.TOKEN).close();
      } catch (SystemCallException e) {
        if (e.errno() != Errno.ENOTTY) {
          throw e;
        }
      }
    }
    linux.loadSharing();
    OptionalLong _ = KernelLog.firstProgram(linux);
    return JournalText.decode(arrived(journal, now, read)).records();
  }

  /**
   * Whether sessions of the previous kernel have yet to be finished.
   *
   * @throws IOException if that can't be told
   */
  public static boolean unfinished(DescriptorStore store) throws IOException {
    Map<String, Fd> kept = KeptSessions.of(store).all();
    kept.values().forEach(Fd::close);
    return !kept.isEmpty();
  }

  /**
   * The host as a participant on this side of the kexec, also for an agent that found everything
   * unpacked: it lets the kernel drop the sessions when all others run.
   *
   * @param arrival what this agent unpacked, if it did
   * @param others the names of all other participants
   */
  public static Target host(
      Linux linux, DescriptorStore store, Optional<Arrival> arrival, Set<String> others) {
    return new Host(linux, store, arrival, Set.copyOf(others));
  }

  private record Host(
      Linux linux, DescriptorStore store, Optional<Arrival> arrival, Set<String> after)
      implements Target {
    @Override
    public String name() {
      return Departure.NAME;
    }

    @Override
    public void restore(Step step) {
      if (arrival.isPresent()) {
        step.note("kexec-to-agent.ms", millis(arrival.get().elapsed));
        step.note("unpacking.ms", millis(arrival.get().unpacking));
      }
    }

    private static String millis(long nanos) {
      return Long.toString(nanos / 1_000_000);
    }

    @Override
    public void finish(Step step) throws IOException {
      if (arrival.isPresent()) {
        // Closing a session discards what was not retrieved, and the manifest tells what that is.
        arrival.get().unpacker.checkNothingAside();
      }
      KeptSessions kept = KeptSessions.of(store);
      Map<String, Fd> sessions = kept.all();
      // The one with the manifest last: as long as it is there, the next agent knows of the rest.
      List<String> order = new ArrayList<>(sessions.keySet());
      if (order.remove(Manifest.SESSION)) {
        order.add(Manifest.SESSION);
      }
      try {
        for (String name : order) {
          Fd fd = sessions.get(name);
          if (fd == null) {
            continue;
          }
          finish(linux.liveUpdate().adoptIncoming(fd.duplicate()));
          kept.drop(name);
        }
        // An earlier call may have failed when the descriptor store had dropped one in part.
        kept.drop(Manifest.SESSION);
      } finally {
        sessions.values().forEach(Fd::close);
      }
      step.note("sessions", Integer.toString(order.size()));
      if (arrival.isPresent()) {
        arrival.get().unpacker.finished();
      }
      // Here, as nobody waits any more.
      if (arrival.isPresent()) {
        OptionalLong init = KernelLog.firstProgram(linux);
        if (init.isPresent()) {
          long since = arrival.get().began - init.getAsLong();
          step.note("kexec-to-init.ms", millis(arrival.get().elapsed - since));
        }
      }
    }

    private static void finish(IncomingSession session) {
      try (session) {
        session.finish();
      } catch (SystemCallException e) {
        if (e.errno() != Errno.EINVAL) {
          throw e;
        }
        LOG.get().log(System.Logger.Level.DEBUG, "finished by an agent that died", e);
      }
    }
  }
}
