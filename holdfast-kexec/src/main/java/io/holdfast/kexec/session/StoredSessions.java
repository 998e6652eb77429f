package io.holdfast.kexec.session;

import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.file.WholeFile;
import io.holdfast.store.Keeper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/**
 * Sessions in systemd's descriptor store. From 261 on systemd itself takes the store of each
 * service along over a kexec; a session in it is there again, under the same name, as the session
 * that came in.
 *
 * <p>One that is on its way is kept under {@code @leaving/BOOT/NAME}, where BOOT is the id of this
 * boot: so an agent that finds it knows which side of the kexec it is on. There it stays until it
 * is finished ({@link KeptSessions}).
 */
public final class StoredSessions implements SessionHolder {
  private static final LateLogger LOG = new LateLogger(StoredSessions.class);

  private final Keeper keeper;
  private final String boot;

  /**
   * @param keeper one that crosses
   * @param boot the id of this boot, {@link #boot}
   */
  public StoredSessions(Keeper keeper, String boot) {
    this.keeper = keeper;
    this.boot = boot;
  }

  /** The id of this boot; the next kernel has another. */
  public static String boot() throws IOException {
    return Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
  }

  @Override
  public void hold(String name, Fd session) {
    keeper.keep(KeptSessions.leaving(boot, name), session);
  }

  @Override
  public void letGo(String name) {
    try {
      keeper.drop(Set.of(KeptSessions.leaving(boot, name)));
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
    KeptSessions sessions = new KeptSessions(keeper, boot);
    Set<String> here = new HashSet<>();
    Set<String> rest = new HashSet<>();
    boolean came = false;
    Map<String, Fd> all = keeper.kept();
    all.values().forEach(Fd::close);
    for (String label : all.keySet()) {
      boolean leaving = label.startsWith(KeptSessions.LEAVING);
      boolean session = sessions.name(label).isPresent();
      came |= leaving && session;
      if (!session) {
        (leaving ? here : rest).add(label);
      }
    }
    keeper.drop(here);
    if (came && !(Files.exists(done) && Files.readString(done).strip().equals(boot))) {
      keeper.drop(rest);
      WholeFile.write(done, boot + "\n");
    }
  }
}
