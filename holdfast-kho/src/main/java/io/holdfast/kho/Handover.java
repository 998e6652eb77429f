package io.holdfast.kho;

import io.holdfast.kho.memory.PhysicalMemory;
import java.util.List;
import java.util.Optional;

/**
 * All that one kernel leaves for the next, as far as Holdfast knows it.
 *
 * <pre>{@code
 * try (ElfCore core = ElfCore.open(file)) {
 *   StartingPoint start = StartingPoint.find(core).orElseThrow();
 *   Handover handover = Handover.read(core, start);
 *   handover.luo().ifPresent(luo -> luo.sessions().forEach(System.out::println));
 * }
 * }</pre>
 *
 * @param memory what it was read from, and what its parts may still read
 * @param start where it starts
 * @param state the state tree
 * @param map the preserved memory
 * @param nodes how many pages the map itself takes, as a tree
 * @param metadata about the kernel that hands over, if it says so
 * @param luo the orchestrator's state, if there is any
 * @param regions reserved regions
 * @param ownership which preserved memory is whose
 */
public record Handover(
    PhysicalMemory memory,
    StartingPoint start,
    StateTree state,
    PreservedMap map,
    int nodes,
    Optional<KexecMetadata> metadata,
    Optional<LuoState> luo,
    List<ReservedRegion> regions,
    Ownership ownership) {
  /** Copies the list. */
  public Handover {
    regions = List.copyOf(regions);
  }

  /**
   * Reads all of it.
   *
   * @throws DefectException at the first thing that is not as its format has it, or whose version
   *     is not known
   * @throws io.holdfast.kho.memory.MemoryException if memory can't be read
   */
  public static Handover read(PhysicalMemory memory, StartingPoint start) {
    return new HandoverReader(memory, start, Findings.thrown())
        .read()
        .orElseThrow(() -> new IllegalStateException("nothing was read, and nobody said why"));
  }

  /**
   * Reads what can be read, and checks all of it: each page preserved once and none in scratch,
   * every pointer in memory, every count true, everything that is handed over preserved, every
   * folio at its place.
   *
   * @throws io.holdfast.kho.memory.MemoryException if memory can't be read
   */
  public static Verification verify(PhysicalMemory memory, StartingPoint start) {
    Findings.Kept kept = new Findings.Kept();
    Optional<Handover> read = new HandoverReader(memory, start, kept).read();
    return new Verification(read, kept.defects(), kept.count());
  }

  /**
   * What checking found.
   *
   * @param handover what could be read; empty if not even the state tree could
   * @param defects what is wrong, in the order in which it was found; 10,000 at most
   * @param count how many there are
   */
  public record Verification(Optional<Handover> handover, List<Defect> defects, long count) {
    /** Copies the list. */
    public Verification {
      defects = List.copyOf(defects);
    }

    /** Whether nothing is wrong. */
    public boolean clean() {
      return count == 0;
    }
  }
}
