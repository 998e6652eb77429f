/** The Linux system interface. */
module io.holdfast.linux {
  requires static transitive org.jspecify;

  exports io.holdfast.linux;
  exports io.holdfast.linux.file;
}
