package io.holdfast.agent;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.store.Keeper;
import io.holdfast.store.VmId;
import io.holdfast.vm.update.VmUpdate;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Copies of device states, in memfds that the keeper holds from before the first byte is in them.
 */
record DeviceStates(Linux linux, Keeper keeper) implements VmUpdate.DeviceState {
  static final String LABEL = "device-state";

  private static String label(VmId vm) {
    return vm.keys() + "/" + LABEL;
  }

  @Override
  public Fd create(VmId vm) {
    Fd state = linux.memfd("device state of " + vm.name(), 0);
    try {
      keeper.keep(label(vm), state);
      return state;
    } catch (RuntimeException e) {
      state.close();
      throw e;
    }
  }

  @Override
  public Optional<Fd> find(VmId vm) {
    Map<String, Fd> kept = keeper.kept(label(vm));
    Optional<Fd> found = Optional.ofNullable(kept.remove(label(vm)));
    kept.values().forEach(Fd::close);
    return found;
  }

  @Override
  public void drop(VmId vm) {
    keeper.drop(Set.of(label(vm)));
  }
}
