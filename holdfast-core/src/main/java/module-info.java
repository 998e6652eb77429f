/** Boxes, state machines, participants, orchestrator, journal, timeline. */
module io.holdfast.core {
  requires static transitive org.jspecify;
  requires transitive io.holdfast.linux;

  exports io.holdfast.core;
}
