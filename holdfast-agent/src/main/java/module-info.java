/** The agent: VMs, boxes and updates, served by Varlink. */
module io.holdfast.agent {
  requires static transitive org.jspecify;
  requires io.holdfast.fdt;
  requires io.holdfast.kho;
  requires transitive io.holdfast.kexec;
  requires transitive io.holdfast.vm;

  exports io.holdfast.agent;
  exports io.holdfast.agent.rescue;
}
