/** Benchmarks, the demo and the observer. */
module io.holdfast.benchmarks {
  requires static transitive org.jspecify;
  requires io.holdfast.host;
  requires org.HdrHistogram;
}
