/** What a kernel writes for the next one, read, checked, shown and built. */
module io.holdfast.kho {
  requires static transitive org.jspecify;
  requires transitive io.holdfast.fdt;
  requires org.tukaani.xz;

  exports io.holdfast.kho;
  exports io.holdfast.kho.build;
  exports io.holdfast.kho.image;
  exports io.holdfast.kho.memory;
}
