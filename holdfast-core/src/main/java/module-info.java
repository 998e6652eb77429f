/** Boxes, state machines, participants, orchestrator, journal, timeline. */
module io.holdfast.core {
  requires static transitive org.jspecify;
  requires transitive io.holdfast.linux;

  exports io.holdfast.core.box;
  exports io.holdfast.core.journal;
  exports io.holdfast.core.participant;
  exports io.holdfast.core.run;
  exports io.holdfast.core.state;
}
