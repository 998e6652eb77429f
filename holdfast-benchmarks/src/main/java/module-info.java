/** Benchmarks, the demos and the observer. */
@SuppressWarnings("requires-automatic") // HdrHistogram names no module; its file's name does
module io.holdfast.benchmarks {
  requires static io.holdfast.promise;
  requires static transitive org.jspecify;
  requires transitive io.holdfast.linux;
  requires io.holdfast.fdt;
  requires io.holdfast.agent;
  requires io.holdfast.kho;
  requires io.holdfast.testbed;
  requires io.holdfast.varlink;
  requires jdk.management;
  requires HdrHistogram;
}
