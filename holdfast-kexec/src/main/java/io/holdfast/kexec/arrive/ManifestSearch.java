package io.holdfast.kexec.arrive;

import io.holdfast.kexec.manifest.Clock;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.kho.memory.MemoryException;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.kho.memory.PhysicalMemory;
import io.holdfast.linux.Linux;
import io.holdfast.store.BoxId;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Finds the manifest of the update that led to this kernel in the machine's memory, without
 * retrieving it: nothing else names the sessions that a kernel has and nobody has asked for.
 *
 * <p>A memfd's pages need not be side by side. So only the first page of a manifest is certain to
 * be found: of a manifest that is longer the boxes are named that begin there.
 */
public final class ManifestSearch {
  /**
   * The longest time from the reboot call until the next kernel's clock starts. Pages of older
   * manifests, which nobody has overwritten, are left out by it.
   */
  private static final Duration KEXEC = Duration.ofMinutes(10);

  private static final int MAGIC = 0xd00dfeed;
  private static final int PAGE = 4096;
  private static final int CHUNK = 1 << 20;
  private static final int BEGIN_NODE = 1;
  private static final int END_NODE = 2;
  private static final int PROPERTY = 3;
  private static final int NOP = 4;
  private static final String COMPATIBLE = "holdfast-v";
  private static final ValueLayout.OfInt BIG_U32 =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(java.nio.ByteOrder.BIG_ENDIAN);

  private ManifestSearch() {}

  /**
   * A box that the manifest names.
   *
   * @param name the VM's, or {@code @box/NAME}
   * @param bytes the guest's RAM, or all of a plain box; empty if the manifest does not tell
   */
  public record Named(String name, OptionalLong bytes) {}

  /**
   * What was found.
   *
   * @param update the update's id; empty if no manifest was found
   * @param boxes that it names
   * @param whole whether these are all of them
   * @param searched how much memory was read, in bytes
   * @param complete whether that is all of the memory
   */
  public record Found(
      Optional<String> update, List<Named> boxes, boolean whole, long searched, boolean complete) {}

  /**
   * Searches memory, for so long at most.
   *
   * @throws MemoryException if memory cannot be read
   */
  public static Found search(Linux linux, PhysicalMemory memory, Duration limit) {
    long end = System.nanoTime() + limit.toNanos();
    Clock now = Clock.now(linux);
    long searched = 0;
    for (MemoryRange range : memory.ranges()) {
      long first = (range.address() + PAGE - 1) & -PAGE;
      for (long at = first; at + PAGE <= range.end(); at += CHUNK) {
        if (System.nanoTime() - end > 0) {
          return new Found(Optional.empty(), List.of(), false, searched, false);
        }
        MemorySegment bytes = memory.at(at, Math.min(CHUNK, range.end() - at));
        for (long page = 0; page + PAGE <= bytes.byteSize(); page += PAGE) {
          if (bytes.get(BIG_U32, page) == MAGIC) {
            Optional<Found> found =
                manifest(memory, at + page, bytes.asSlice(page, PAGE), now, searched);
            if (found.isPresent()) {
              return found.get();
            }
          }
        }
        searched += bytes.byteSize();
      }
    }
    return new Found(Optional.empty(), List.of(), false, searched, true);
  }

  private static Optional<Found> manifest(
      PhysicalMemory memory, long at, MemorySegment page, Clock now, long searched) {
    long size = Integer.toUnsignedLong(page.get(BIG_U32, 4));
    if (size <= (64 << 20) && memory.contains(at, size)) {
      try {
        Manifest manifest = Manifest.of(memory.at(at, size));
        return isOfThisKernel(now, manifest.departed())
            ? Optional.of(
                new Found(
                    Optional.of(manifest.update()),
                    manifest.boxes().stream().map(ManifestSearch::named).toList(),
                    true,
                    searched,
                    false))
            : Optional.empty();
      } catch (IOException e) {
        // Its pages are not side by side, or it is none.
      }
    }
    Beginning beginning = new Beginning(page);
    return beginning.read() && isOfThisKernel(now, beginning.departed())
        ? Optional.of(
            new Found(Optional.of(beginning.update), beginning.boxes, false, searched, false))
        : Optional.empty();
  }

  private static Named named(Manifest.CrossedBox box) {
    return new Named(box.id().named().text(), box.memory());
  }

  private static boolean isOfThisKernel(Clock now, Clock departed) {
    long kexec = now.after(departed) - now.monotonic();
    // The clock by which that is measured may have been set by an hour for summer time, or less.
    return kexec > -KEXEC.toNanos() && kexec < KEXEC.toNanos();
  }

  /**
   * A manifest of which only the first page is there. The names of its properties are on a later
   * one, but their order is always the same ({@link Manifest#toBlob}).
   */
  private static final class Beginning {
    private final ByteBuffer page;
    private final List<String> open = new ArrayList<>();
    private final List<Named> boxes = new ArrayList<>();
    private final long[] clock = new long[4];
    private String update = "";
    private int properties;

    Beginning(MemorySegment page) {
      this.page = ByteBuffer.wrap(page.toArray(ValueLayout.JAVA_BYTE));
    }

    Clock departed() {
      return new Clock(clock[0], clock[1], clock[2], clock[3]);
    }

    /** Returns whether it is a manifest, with its clock. */
    boolean read() {
      int at = page.getInt(8);
      if (at < 40 || at > PAGE - 8) {
        return false;
      }
      page.position(at);
      try {
        while (page.remaining() >= 8 && token()) {
          // On to the next.
        }
      } catch (java.nio.BufferUnderflowException e) {
        // The page ends here.
      }
      return !update.isEmpty() && clock[1] != 0;
    }

    private boolean token() {
      switch (page.getInt()) {
        case BEGIN_NODE -> {
          open.add(text());
          properties = 0;
        }
        case END_NODE -> {
          if (open.isEmpty()) {
            return false;
          }
          open.removeLast();
          properties = -1;
        }
        case PROPERTY -> {
          int length = page.getInt();
          int _ = page.getInt();
          if (length < 0 || length > page.remaining()) {
            return false;
          }
          byte[] value = new byte[length];
          page.get(value);
          align();
          return property(value);
        }
        case NOP -> {}
        default -> {
          return false;
        }
      }
      return true;
    }

    private boolean property(byte[] value) {
      int number = properties++;
      String node = open.isEmpty() ? "" : open.getLast();
      if (open.size() == 1) {
        String text = string(value);
        if (number == 0) {
          return text.startsWith(COMPATIBLE);
        }
        if (number == 1) {
          update = text;
        }
      } else if (node.equals("departed") && number >= 0 && number < 4 && value.length == 8) {
        clock[number] = ByteBuffer.wrap(value).getLong();
      } else if (node.startsWith("box@") && number == 0) {
        boxes.add(new Named(BoxId.of(string(value)).named().text(), OptionalLong.empty()));
      }
      return true;
    }

    private static String string(byte[] value) {
      int length = 0;
      while (length < value.length && value[length] != 0) {
        length++;
      }
      return new String(value, 0, length, StandardCharsets.UTF_8);
    }

    private String text() {
      StringBuilder text = new StringBuilder();
      for (byte next = page.get(); next != 0; next = page.get()) {
        text.append((char) next);
      }
      align();
      return text.toString();
    }

    private void align() {
      page.position(Math.min(page.limit(), (page.position() + 3) & -4));
    }
  }
}
