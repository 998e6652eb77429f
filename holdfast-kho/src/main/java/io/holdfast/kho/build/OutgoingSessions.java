package io.holdfast.kho.build;

import static io.holdfast.kho.memory.MemoryRange.PAGE;

import io.holdfast.kho.Format;
import io.holdfast.kho.LuoState.FileBoundObject;
import io.holdfast.kho.Memfd.Folio;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiConsumer;

/**
 * The orchestrator's state, to be written: luo-v5, with memfds as memfd-v2 has them. What it writes
 * is described in docs/formats.md. Not for several threads at once.
 */
public final class OutgoingSessions {
  private static final ValueLayout.OfLong U64 =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt U32 =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfShort U16 =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private static final int LUO_SIZE = 32;
  private static final int BLOCK_HEADER = 16;
  private static final int SESSION_SIZE = 80;
  private static final int SESSION_NAME = 64;
  private static final int FILE_SIZE = 64;
  private static final int NAME = 48;
  private static final int MEMFD_SIZE = 48;
  private static final int FOLIO_SIZE = 16;
  private static final int CHUNK_ADDRESSES = PAGE / 8 - 1;

  private final long updates;
  private final Map<String, Map<Long, File>> sessions = new LinkedHashMap<>();
  private final List<FileBoundObject> objects = new ArrayList<>();

  /** A file to be written. */
  private sealed interface File {
    record Memory(long position, long size, int seals, List<Folio> folios) implements File {}

    record Other(String handler, long data) implements File {}
  }

  /**
   * No sessions yet.
   *
   * @param updates how many live updates the next kernel will have behind it
   */
  public OutgoingSessions(long updates) {
    this.updates = updates;
  }

  /**
   * Adds a session without files.
   *
   * @throws IllegalArgumentException if there is one of that name, or it has not 1 to 63 characters
   */
  public OutgoingSessions add(String session) {
    checkName(session, SESSION_NAME);
    if (sessions.putIfAbsent(session, new LinkedHashMap<>()) != null) {
      throw new IllegalArgumentException("there is a session " + session + " already");
    }
    return this;
  }

  /**
   * Adds a memfd to a session. That its folios are preserved is up to the caller.
   *
   * @param folios its content, in the order of the file
   * @throws IllegalArgumentException if there is no such session, or a file with this token
   */
  public OutgoingSessions memfd(
      String session, long token, long position, long size, int seals, List<Folio> folios) {
    return put(session, token, new File.Memory(position, size, seals, List.copyOf(folios)));
  }

  /**
   * Adds a file of another kind. As {@link #memfd}.
   *
   * @param handler its handler's name, 1 to 47 characters
   * @param data the handler's
   */
  public OutgoingSessions file(String session, long token, String handler, long data) {
    checkName(handler, NAME);
    return put(session, token, new File.Other(handler, data));
  }

  private OutgoingSessions put(String session, long token, File file) {
    Map<Long, File> files = sessions.get(session);
    if (files == null) {
      throw new IllegalArgumentException("there is no session " + session);
    }
    if (files.putIfAbsent(token, file) != null) {
      throw new IllegalArgumentException(
          "session %s has a file %s already".formatted(session, Long.toUnsignedString(token)));
    }
    return this;
  }

  /**
   * Removes a session with its files.
   *
   * @throws IllegalArgumentException if there is none
   */
  public OutgoingSessions remove(String session) {
    if (sessions.remove(session) == null) {
      throw new IllegalArgumentException("there is no session " + session);
    }
    return this;
  }

  /**
   * Adds an object that lives as long as files do.
   *
   * @throws IllegalArgumentException if its name has not 1 to 47 characters, or there are 63
   *     already
   */
  public OutgoingSessions object(FileBoundObject object) {
    checkName(object.name(), NAME);
    if (objects.size() == (PAGE - BLOCK_HEADER) / FILE_SIZE) {
      throw new IllegalArgumentException("no page has more than " + objects.size() + " objects");
    }
    objects.add(object);
    return this;
  }

  private static void checkName(String name, int size) {
    if (name.isEmpty()
        || name.length() >= size
        || !name.chars().allMatch(c -> c > ' ' && c < 127)) {
      throw new IllegalArgumentException(
          "\"%s\" is no name of 1 to %d characters".formatted(name, size - 1));
    }
  }

  /** Writes it; returns the structure that the sub-tree has. */
  byte[] write(Outgoing.Pages pages) {
    MemorySegment luo = MemorySegment.ofArray(new byte[LUO_SIZE]);
    text(luo, 0, Format.LUO_V5.version());
    luo.set(U64, 8, updates);
    luo.set(
        U64,
        16,
        blocks(
            pages,
            SESSION_SIZE,
            List.copyOf(sessions.entrySet()),
            (session, bytes) -> {
              text(bytes, 0, session.getKey());
              Map<Long, File> files = session.getValue();
              bytes.set(U64, SESSION_NAME, files(pages, files));
              bytes.set(U64, SESSION_NAME + 8, files.size());
            }));
    long list = pages.take(0);
    MemorySegment header = pages.at(list, PAGE);
    header.set(U64, 0, 1);
    header.set(U64, 8, objects.size());
    for (int i = 0; i < objects.size(); i++) {
      MemorySegment bytes = header.asSlice(BLOCK_HEADER + (long) i * FILE_SIZE, FILE_SIZE);
      text(bytes, 0, objects.get(i).name());
      bytes.set(U64, NAME, objects.get(i).data());
      bytes.set(U64, NAME + 8, objects.get(i).files());
    }
    luo.set(U64, 24, list);
    return luo.toArray(ValueLayout.JAVA_BYTE);
  }

  private static long files(Outgoing.Pages pages, Map<Long, File> files) {
    return blocks(
        pages,
        FILE_SIZE,
        List.copyOf(files.entrySet()),
        (file, bytes) -> {
          switch (file.getValue()) {
            case File.Memory memfd -> {
              text(bytes, 0, Format.MEMFD_V2.version());
              bytes.set(U64, NAME, memfd(pages, memfd));
            }
            case File.Other(String handler, long data) -> {
              text(bytes, 0, handler);
              bytes.set(U64, NAME, data);
            }
          }
          bytes.set(U64, NAME + 8, file.getKey());
        });
  }

  /** Writes entries into blocks that are linked; returns the first one's address, or 0. */
  private static <T> long blocks(
      Outgoing.Pages pages, int size, List<T> entries, BiConsumer<T, MemorySegment> write) {
    int most = (PAGE - BLOCK_HEADER) / size;
    long next = 0;
    // From the last one on: then each knows the next.
    for (int from = (entries.size() + most - 1) / most * most - most; from >= 0; from -= most) {
      long address = pages.take(0);
      MemorySegment block = pages.at(address, PAGE);
      List<T> some = entries.subList(from, Math.min(entries.size(), from + most));
      block.set(U64, 0, next);
      block.set(U64, 8, some.size());
      for (int i = 0; i < some.size(); i++) {
        write.accept(some.get(i), block.asSlice(BLOCK_HEADER + (long) i * size, size));
      }
      next = address;
    }
    return next;
  }

  private static long memfd(Outgoing.Pages pages, File.Memory memfd) {
    long address = pages.take(0);
    MemorySegment bytes = pages.at(address, MEMFD_SIZE);
    bytes.set(U64, 0, memfd.position());
    bytes.set(U64, 8, memfd.size());
    bytes.set(U32, 16, memfd.seals());
    bytes.set(U64, 24, memfd.folios().size());
    List<Long> table = new ArrayList<>();
    for (int i = 0; i < memfd.folios().size(); i++) {
      int place = i % (PAGE / FOLIO_SIZE);
      if (place == 0) {
        table.add(pages.take(0));
      }
      Folio folio = memfd.folios().get(i);
      MemorySegment entry = pages.at(table.getLast() + (long) place * FOLIO_SIZE, FOLIO_SIZE);
      entry.set(U64, 0, folio.address() / PAGE | ((long) folio.flags() << 52));
      entry.set(U64, 8, folio.index());
    }
    if (!table.isEmpty()) {
      bytes.set(U64, 32, chunks(pages, table));
      bytes.set(U32, 40, table.size());
      bytes.set(U16, 44, (short) 1);
    }
    return address;
  }

  private static long chunks(Outgoing.Pages pages, List<Long> table) {
    long next = 0;
    for (int from = (table.size() - 1) / CHUNK_ADDRESSES * CHUNK_ADDRESSES;
        from >= 0;
        from -= CHUNK_ADDRESSES) {
      long address = pages.take(0);
      MemorySegment chunk = pages.at(address, PAGE);
      chunk.set(U64, 0, next);
      List<Long> some = table.subList(from, Math.min(table.size(), from + CHUNK_ADDRESSES));
      for (int i = 0; i < some.size(); i++) {
        chunk.set(U64, (i + 1) * 8L, some.get(i));
      }
      next = address;
    }
    return next;
  }

  private static void text(MemorySegment bytes, long at, String text) {
    MemorySegment.copy(
        MemorySegment.ofArray(text.getBytes(StandardCharsets.US_ASCII)),
        0,
        bytes,
        at,
        text.length());
  }
}
