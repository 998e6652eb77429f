/** What makes it real: the agent, the keeper and the QEMU participant. */
module io.holdfast.host {
  requires static transitive org.jspecify;
  requires io.holdfast.fdt;
  requires io.holdfast.kho;
  requires transitive io.holdfast.core;
  requires transitive io.holdfast.varlink;

  exports io.holdfast.host.agent;
  exports io.holdfast.host.carrier;
  exports io.holdfast.host.channel;
  exports io.holdfast.host.keeper;
  exports io.holdfast.host.qemu;
}
