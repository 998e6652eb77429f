/** The Varlink protocol with descriptor passing, and the JSON values that it carries. */
module io.holdfast.varlink {
  requires static transitive org.jspecify;
  requires transitive io.holdfast.linux;
  requires tools.jackson.core;

  exports io.holdfast.varlink;
  exports io.holdfast.varlink.json;
}
