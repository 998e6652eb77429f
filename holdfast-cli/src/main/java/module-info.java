/** The holdfast command. */
module io.holdfast.cli {
  requires static transitive org.jspecify;
  requires io.holdfast.host;
  requires info.picocli;
}
