package io.holdfast.host.carrier;

import io.holdfast.host.keeper.Keeper;
import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
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
 * boot: so an agent that finds it knows which side of the kexec it is on.
 */
public final class StoredSessions implements SessionHolder {
  private static final String LEAVING = "@leaving/";
  private static final LateLogger LOG = new LateLogger(StoredSessions.class);

  private final Keeper keeper;
  private final String prefix;

  /**
   * @param keeper one that crosses
   * @param boot the id of this boot, {@link #boot}
   */
  public StoredSessions(Keeper keeper, String boot) {
    this.keeper = keeper;
    this.prefix = LEAVING + boot + "/";
  }

  /** The id of this boot; the next kernel has another. */
  public static String boot() throws IOException {
    return Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
  }

  @Override
  public void hold(String name, Fd session) {
    keeper.keep(prefix + name, session);
  }

  @Override
  public void letGo(String name) {
    try {
      keeper.drop(Set.of(prefix + name));
    } catch (RuntimeException e) {
      // When systemd is no more than what makes the reboot call, nobody takes it back: guests run,
      // and what is preserved of them stays so.
      LOG.get()
          .log(System.Logger.Level.WARNING, "session " + name + " stays in systemd's store", e);
    }
  }

  /**
   * Sorts what is in the store at the agent's start. Sessions of an agent that died on this side
   * are undone. Those that came are kept as {@link Arrival} looks for them; then whatever else
   * systemd brought along is dropped, since what is needed is in them.
   *
   * <p>An agent that dies in between leaves what the next one sorts again.
   */
  public void sort() {
    Map<String, Fd> leaving = keeper.kept(LEAVING);
    try {
      Set<String> here = new HashSet<>();
      Set<String> came = new HashSet<>();
      leaving.keySet().forEach(each -> (each.startsWith(prefix) ? here : came).add(each));
      keeper.drop(here);
      if (came.isEmpty()) {
        return;
      }
      Set<String> rest = new HashSet<>();
      Map<String, Fd> all = keeper.kept();
      all.values().forEach(Fd::close);
      for (String label : all.keySet()) {
        if (!label.startsWith(LEAVING) && !label.startsWith(Arrival.SESSIONS)) {
          rest.add(label);
        }
      }
      keeper.drop(rest);
      leaving.forEach(
          (label, fd) -> {
            if (came.contains(label)) {
              String session = label.substring(label.indexOf('/', LEAVING.length()) + 1);
              keeper.keep(Arrival.SESSIONS + session, fd);
            }
          });
      keeper.drop(came);
    } finally {
      leaving.values().forEach(Fd::close);
    }
  }
}
