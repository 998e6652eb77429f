/** The descriptor store: what keeps descriptors while there is no agent. */
module io.holdfast.store {
  requires static transitive org.jspecify;
  requires transitive io.holdfast.linux;

  exports io.holdfast.store;
}
