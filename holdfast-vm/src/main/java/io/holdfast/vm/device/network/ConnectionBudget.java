package io.holdfast.vm.device.network;

import io.holdfast.linux.Linux;
import java.util.HashMap;
import java.util.Map;

/**
 * Counts and limits the connections to VMs' ports of the host, so that neither one VM nor all of
 * them take the descriptors and the memory that updates need.
 *
 * <p>A VM gets another place while it has fewer than are free. So one alone gets half of all, and
 * whatever others have, one with few connections is never refused.
 */
public final class ConnectionBudget {
  /** A connection takes two descriptors; so all together take at most a quarter of them. */
  private static final int SHARE_OF_DESCRIPTORS = 8;

  /** Nor a quarter of the heap, if nobody takes what comes in over any of them. */
  private static final int SHARE_OF_MEMORY = 4;

  private final long places;
  private final Map<String, Integer> taken = new HashMap<>();
  private long used;
  private long refused;

  /** Makes one of at most {@code places} connections. */
  ConnectionBudget(long places) {
    this.places = places;
  }

  private static final class OfProcess {
    static final ConnectionBudget INSTANCE =
        new ConnectionBudget(
            Math.min(
                Linux.system().raiseDescriptorLimit() / SHARE_OF_DESCRIPTORS,
                Runtime.getRuntime().maxMemory() / SHARE_OF_MEMORY / HostPorts.MOST_BYTES));
  }

  /** This process's, as its limit of descriptors is. */
  public static ConnectionBudget ofProcess() {
    return OfProcess.INSTANCE;
  }

  /** How many connections all VMs together may have. */
  public long places() {
    return places;
  }

  /** Takes a place for a connection of this VM; false if there is none for it, which is counted. */
  synchronized boolean take(String vm) {
    int mine = taken.getOrDefault(vm, 0);
    if (mine >= places - used) {
      refused++;
      return false;
    }
    taken.put(vm, mine + 1);
    used++;
    return true;
  }

  /** Gives a place back that was taken for this VM. */
  synchronized void giveBack(String vm) {
    used--;
    taken.computeIfPresent(vm, (_, mine) -> mine == 1 ? null : mine - 1);
  }

  /** How many a VM has. */
  synchronized int taken(String vm) {
    return taken.getOrDefault(vm, 0);
  }

  /** How many connections found no place so far. */
  public synchronized long refused() {
    return refused;
  }
}
