package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * A file's or memfd's memory in this process's address space, shared with everybody who has it
 * mapped. It outlives the descriptor it was made of. Any thread may use it.
 *
 * <p>Touching a page beyond the file's end is an {@link InternalError} (SIGBUS), so the file must
 * not be made smaller.
 */
public final class Mapping implements AutoCloseable {
  private static final int MADV_HUGEPAGE = 14;
  private static final int MADV_POPULATE_READ = 22;
  private static final int MADV_POPULATE_WRITE = 23;

  private final Calls calls;
  private final String what;
  private final boolean writable;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment segment;

  Mapping(Calls calls, long address, long bytes, boolean writable, String what) {
    this.calls = calls;
    this.what = what;
    this.writable = writable;
    MemorySegment mapped =
        MemorySegment.ofAddress(address)
            .reinterpret(
                bytes,
                arena,
                s -> {
                  // It can fail only for arguments that mmap didn't give.
                  calls.attempt(Call.MUNMAP, address, bytes);
                });
    this.segment = writable ? mapped : mapped.asReadOnly();
  }

  /**
   * The memory; invalid (every access is an {@link IllegalStateException}) after {@link #close}.
   */
  public MemorySegment segment() {
    return segment;
  }

  /**
   * Asks the kernel to use transparent huge pages for it. For memfds this has an effect only if the
   * machine allows it ({@code /sys/kernel/mm/transparent_hugepage/shmem_enabled} is {@code advise},
   * {@code within_size} or {@code always}); it is no error if not.
   *
   * @throws SystemCallException EINVAL if the kernel has no huge pages at all
   */
  public void adviseHuge() {
    advise(MADV_HUGEPAGE);
  }

  /**
   * Allocates and maps every page now, so that no later access waits for one. A mapping for reading
   * only reads them.
   *
   * @throws SystemCallException ENOMEM when memory is short, EFAULT when reserved huge pages are,
   *     EINVAL before Linux 5.14
   */
  public void populate() {
    advise(writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
  }

  private synchronized void advise(int advice) {
    calls.make(Call.MADVISE, what, Calls.address(segment), segment.byteSize(), advice);
  }

  /**
   * Unmaps it, after the end of a call of this object's that runs; does nothing the second time.
   *
   * @throws IllegalStateException if a thread is in the middle of an access
   */
  @Override
  public synchronized void close() {
    if (arena.scope().isAlive()) {
      arena.close();
    }
  }

  @Override
  public String toString() {
    return "mapping of " + what;
  }
}
