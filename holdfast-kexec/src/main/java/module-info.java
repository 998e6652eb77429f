/** Updates of the kernel: what departs, what arrives, and what is checked before. */
module io.holdfast.kexec {
  requires static transitive org.jspecify;
  requires io.holdfast.fdt;
  requires transitive io.holdfast.kho;
  requires transitive io.holdfast.core;
  requires transitive io.holdfast.store;

  exports io.holdfast.kexec;
  exports io.holdfast.kexec.check;
}
