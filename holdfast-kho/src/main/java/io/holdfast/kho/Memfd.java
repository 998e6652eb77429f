package io.holdfast.kho;

import static io.holdfast.kho.memory.MemoryRange.PAGE;

import io.holdfast.kho.memory.PhysicalMemory;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.OptionalInt;

/**
 * A memfd (struct memfd_luo_ser).
 *
 * @param format its version
 * @param position where its next read or write is, in bytes
 * @param size in bytes
 * @param seals bits as F_SEAL_… of fcntl(2)
 * @param folios where its content is
 */
public record Memfd(Format format, long position, long size, int seals, Folios folios)
    implements LuoState.FileState {
  /** The folio has what somebody wrote (MEMFD_LUO_FOLIO_DIRTY). */
  public static final int DIRTY = 1;

  /** The folio's content counts; without it the next kernel fills it with zeros. */
  public static final int UP_TO_DATE = 2;

  /**
   * A folio: pages that follow one another, in memory and in the file.
   *
   * @param address the physical address
   * @param index where it is in the file, in pages
   * @param flags {@link #DIRTY}, {@link #UP_TO_DATE}
   */
  public record Folio(long address, long index, int flags) {}

  /** Is told of a memfd's content, piece by piece. */
  public interface Content {
    /** So many bytes at this place of the file. */
    void is(long offset, MemorySegment bytes);
  }

  /**
   * The content, in the order of the file, in pieces as they lie in memory; all of the file is
   * told.
   *
   * @param map what says how large a folio is
   * @throws io.holdfast.kho.memory.MemoryException if a folio is not in the memory
   * @throws IllegalStateException if it is not whole: a folio is missing, or is not preserved
   */
  public void content(PhysicalMemory memory, PreservedMap map, Content content) {
    long done = 0;
    for (long i = 0; i < folios.count() && done < size; i++) {
      Folio folio = folios.get(i);
      OptionalInt order = map.orderAt(folio.address());
      if (folio.index() * PAGE != done || order.isEmpty()) {
        throw new IllegalStateException(
            "folio %d, at 0x%x, is not preserved, or not the next one of the file"
                .formatted(i, folio.address()));
      }
      long piece = Math.min(size - done, PreservedBlock.bytes(order.getAsInt()));
      content.is(done, memory.at(folio.address(), piece));
      done += piece;
    }
    if (done < size) {
      throw new IllegalStateException("%d of %d bytes have no folio".formatted(size - done, size));
    }
  }

  /** A memfd's folios, read where they lie: 16 bytes each, 256 on a page. */
  public static final class Folios {
    static final int SIZE = 16;
    private static final int ON_A_PAGE = PAGE / SIZE;
    private static final long FRAME = (1L << 52) - 1;

    private final List<MemorySegment> pages;
    private final long count;

    /**
     * So many folios.
     *
     * @param pages of {@value #SIZE} bytes for each folio
     */
    Folios(List<MemorySegment> pages, long count) {
      this.pages = List.copyOf(pages);
      this.count = count;
    }

    /** How many there are. */
    public long count() {
      return count;
    }

    /**
     * A folio.
     *
     * @throws IndexOutOfBoundsException if there are not so many
     */
    public Folio get(long number) {
      if (number < 0 || number >= count) {
        throw new IndexOutOfBoundsException(number);
      }
      MemorySegment page = pages.get((int) (number / ON_A_PAGE));
      long at = number % ON_A_PAGE * SIZE;
      long word = Words.u64(page, at);
      // struct memfd_luo_folio_ser: 52 bits of page frame number, 12 of flags, then the index.
      return new Folio((word & FRAME) * PAGE, Words.u64(page, at + 8), (int) (word >>> 52));
    }
  }
}
