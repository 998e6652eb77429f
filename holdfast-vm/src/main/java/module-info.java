/** VMs: QEMU, what a guest has, updates and adoption. */
module io.holdfast.vm {
  requires static transitive org.jspecify;
  requires transitive io.holdfast.core;
  requires transitive io.holdfast.store;
  requires transitive io.holdfast.varlink;

  exports io.holdfast.vm;
  exports io.holdfast.vm.adopt;
  exports io.holdfast.vm.channel;
  exports io.holdfast.vm.device;
  exports io.holdfast.vm.device.disk;
  exports io.holdfast.vm.device.network;
  exports io.holdfast.vm.probe;
  exports io.holdfast.vm.qemu;
  exports io.holdfast.vm.spec;
  exports io.holdfast.vm.update;
}
