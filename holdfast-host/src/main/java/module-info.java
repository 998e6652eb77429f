/** The agent, the keeper and the QEMU participant. */
module io.holdfast.host {
  requires static transitive org.jspecify;
  requires transitive io.holdfast.core;
  requires transitive io.holdfast.varlink;
}
