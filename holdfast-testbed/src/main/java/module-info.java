/** The testbed: a real kernel in a VM, really kexec'd. */
module io.holdfast.testbed {
  requires info.picocli;
  requires io.holdfast.agent;
  requires io.holdfast.kho;
  requires transitive io.holdfast.linux;
  requires static io.holdfast.promise;
  requires static transitive org.jspecify;

  exports io.holdfast.testbed;

  opens io.holdfast.testbed to
      info.picocli;
}
