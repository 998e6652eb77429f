/** Flattened device trees: read in place, built, and printed as source. */
module io.holdfast.fdt {
  requires static transitive org.jspecify;

  exports io.holdfast.fdt;
}
