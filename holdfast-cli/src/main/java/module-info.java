/** The holdfast command. */
module io.holdfast.cli {
  requires static transitive org.jspecify;
  requires io.holdfast.core;
  requires io.holdfast.agent;
  requires io.holdfast.kho;
  requires io.holdfast.linux;
  requires io.holdfast.varlink;
  requires info.picocli;
  requires org.cryptomator.jfuse.api;
}
