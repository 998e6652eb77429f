package io.holdfast.vm.device;

import io.holdfast.linux.Linux;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.VmId;
import java.nio.file.Path;

/**
 * What backends work with.
 *
 * @param store has what must outlive the agent, under keys {@link
 *     io.holdfast.store.StoreKey.Backend}
 * @param directory the VM's own
 */
public record BackendContext(Linux linux, DescriptorStore store, VmId id, Path directory) {
  /** The VM's name. */
  public String vm() {
    return id.name();
  }
}
