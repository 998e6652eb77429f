package io.holdfast.benchmarks;

import java.io.IOException;

/** Somebody who updates a guest. */
interface Contender {
  String name();

  /** The process that runs the guest now. */
  int qemu();

  /** Updates it once. */
  void update() throws IOException;
}
