/** The Varlink protocol with descriptor passing. */
module io.holdfast.varlink {
  requires static transitive org.jspecify;
  requires transitive io.holdfast.linux;
  requires tools.jackson.core;

  exports io.holdfast.varlink;
}
