package io.holdfast.host.agent;

import io.holdfast.host.keeper.Keeper;
import io.holdfast.host.qemu.VmUpdate;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Copies of device states, in memfds that the keeper holds from before the first byte is in them.
 */
record DeviceStates(Linux linux, Keeper keeper) implements VmUpdate.DeviceState {
  static final String LABEL = "device-state";

  @Override
  public Fd create(String vm) {
    Fd state = linux.memfd("device state of " + vm, 0);
    try {
      keeper.keep(vm + "/" + LABEL, state);
      return state;
    } catch (RuntimeException e) {
      state.close();
      throw e;
    }
  }

  @Override
  public Optional<Fd> find(String vm) {
    Map<String, Fd> kept = keeper.kept();
    Optional<Fd> found = Optional.ofNullable(kept.remove(vm + "/" + LABEL));
    kept.values().forEach(Fd::close);
    return found;
  }

  @Override
  public void drop(String vm) {
    keeper.drop(Set.of(vm + "/" + LABEL));
  }
}
