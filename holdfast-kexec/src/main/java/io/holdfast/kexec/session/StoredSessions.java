package io.holdfast.kexec.session;

import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.file.WholeFile;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.StoreKey;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;

/**
 * Sessions in systemd's descriptor store. From 261 on systemd itself takes the store of each
 * service along over a kexec; a session in it is there again, under the same name, as the session
 * that came in.
 *
 * <p>One that is on its way is stored as {@link StoreKey.LeavingSession} with the id of this boot:
 * so an agent that finds it knows which side of the kexec it is on. There it stays until it is
 * finished ({@link KeptSessions}).
 */
public final class StoredSessions implements SessionHolder {
  private static final LateLogger LOG = new LateLogger(StoredSessions.class);

  private final DescriptorStore store;
  private final String boot;

  /**
   * @param store one that crosses
   * @param boot the id of this boot, {@link #boot}
   */
  public StoredSessions(DescriptorStore store, String boot) {
    this.store = store;
    this.boot = boot;
  }

  /** The id of this boot; the next kernel has another. */
  public static String boot() throws IOException {
    return Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
  }

  @Override
  public void hold(String name, Fd session) {
    store.put(new StoreKey.LeavingSession(boot, name), session);
  }

  @Override
  public void letGo(String name) {
    try {
      store.drop(Set.of(new StoreKey.LeavingSession(boot, name)));
    } catch (RuntimeException e) {
      // When systemd is no more than what makes the reboot call, nobody takes it back: guests run,
      // and what is preserved of them stays so.
      LOG.get()
          .log(System.Logger.Level.WARNING, "session " + name + " stays in systemd's store", e);
    }
  }

  /**
   * Sorts what is in the store at the agent's start. Sessions of an agent that died on this side
   * are undone. If sessions came, whatever else systemd brought along is dropped, since what is
   * needed is in them.
   *
   * <p>An agent that dies in between leaves what the next one sorts again.
   *
   * @param done the file that tells the next agents of this boot that it was done: what is in the
   *     store from then on is theirs
   * @throws IOException if the file can't be read or written; the next agent sorts again
   */
  public void sort(Path done) throws IOException {
    KeptSessions sessions = new KeptSessions(store, boot);
    Set<StoreKey> here = new HashSet<>();
    Set<StoreKey> rest = new HashSet<>();
    boolean came = false;
    for (StoreKey key : store.keys()) {
      boolean leaving = key instanceof StoreKey.LeavingSession;
      boolean session = sessions.name(key).isPresent();
      came |= leaving && session;
      if (!session) {
        (leaving ? here : rest).add(key);
      }
    }
    store.drop(here);
    if (came && !(Files.exists(done) && Files.readString(done).strip().equals(boot))) {
      store.drop(rest);
      WholeFile.write(done, boot + "\n");
    }
  }
}
