package io.holdfast.agent;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.StoreKey;
import io.holdfast.store.VmId;
import io.holdfast.vm.update.VmUpdate;
import java.util.Optional;
import java.util.Set;

/**
 * Copies of device states, in memfds that the descriptor store holds from before the first byte is
 * in them.
 */
record DeviceStates(Linux linux, DescriptorStore store) implements VmUpdate.DeviceState {
  @Override
  public Fd create(VmId vm) {
    Fd state = linux.memfd("device state of " + vm.name(), 0);
    try {
      store.put(new StoreKey.DeviceState(vm), state);
      return state;
    } catch (RuntimeException e) {
      state.close();
      throw e;
    }
  }

  @Override
  public Optional<Fd> find(VmId vm) {
    return store.find(new StoreKey.DeviceState(vm));
  }

  @Override
  public void drop(VmId vm) {
    store.drop(Set.of(new StoreKey.DeviceState(vm)));
  }
}
