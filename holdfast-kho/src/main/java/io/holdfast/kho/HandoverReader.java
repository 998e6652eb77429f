package io.holdfast.kho;

import static io.holdfast.kho.memory.MemoryRange.PAGE;

import io.holdfast.fdt.FdtBlob;
import io.holdfast.fdt.FdtException;
import io.holdfast.fdt.FdtNode;
import io.holdfast.fdt.FdtProperty;
import io.holdfast.fdt.FdtTree;
import io.holdfast.kho.Defect.Rule;
import io.holdfast.kho.LuoState.FileBoundObject;
import io.holdfast.kho.LuoState.PreservedFile;
import io.holdfast.kho.LuoState.Session;
import io.holdfast.kho.LuoState.Unread;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.kho.memory.PhysicalMemory;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;

/**
 * Reads a handover, and checks it on the way. What is wrong is told to {@link Findings}; if that
 * returns, what can't be followed is left out.
 */
final class HandoverReader {
  // struct kho_block_header_ser: next, count; the entries follow.
  private static final int BLOCK_HEADER = 16;

  /** As many blocks as the kernel accepts in one list (KHO_MAX_BLOCKS). */
  private static final int MOST_BLOCKS = 10_000;

  // struct luo_ser: 8 bytes of version, number of updates, sessions, objects.
  private static final int LUO_SIZE = 32;
  private static final int LUO_UPDATES = 8;
  private static final int LUO_SESSIONS = 16;
  private static final int LUO_OBJECTS = 24;

  // struct luo_session_ser: the name, first block of files, number of files.
  private static final int SESSION_SIZE = 80;
  private static final int SESSION_NAME = 64;

  // struct luo_file_ser: the handler's name, data, token.
  private static final int FILE_SIZE = 64;
  private static final int HANDLER_NAME = 48;

  // struct luo_flb_header_ser, which the entries follow; struct luo_flb_ser.
  private static final int OBJECTS_HEADER = 16;
  private static final int OBJECT_SIZE = 64;
  private static final int OBJECT_NAME = 48;

  // struct memfd_luo_ser: position, size, seals, flags, number of folios, struct kho_vmalloc.
  private static final int MEMFD_SIZE = 48;
  private static final int MEMFD_FOLIOS = 24;
  private static final int MEMFD_VMALLOC = 32;
  private static final String MEMFD = "memfd-v";

  /** MEMFD_LUO_ALL_SEALS: seal, shrink, grow, write, future write, exec. */
  private static final int SEALS = 0x3f;

  // struct kho_vmalloc_chunk: next, then as many addresses as fit in the page.
  private static final int CHUNK_ADDRESSES = PAGE / 8 - 1;

  /** KHO_VMALLOC_ALLOC, KHO_VMALLOC_HUGE_VMAP. */
  private static final int VMALLOC_FLAGS = 3;

  /** vmalloc's pages are base pages or those of a page table's next level: 2 MiB, 1 GiB. */
  private static final int VMALLOC_MOST_ORDER = 18;

  private static final long MOST_FOLIOS = 0xffff_ffffL;

  private final PhysicalMemory memory;
  private final StartingPoint start;
  private final Findings findings;
  private final MemoryIndex index;
  private final List<MemoryRange> scratch = new ArrayList<>();
  private PreservedMap map = new PreservedMap(List.of());
  private Ownership ownership = new Ownership(map);
  private boolean mapWasRead;

  HandoverReader(PhysicalMemory memory, StartingPoint start, Findings findings) {
    this.memory = memory;
    this.start = start;
    this.findings = findings;
    this.index = new MemoryIndex(memory.ranges());
  }

  Optional<Handover> read() {
    checkScratch();
    Optional<StateTree> found = stateTree();
    if (found.isEmpty()) {
      return Optional.empty();
    }
    StateTree state = found.get();
    RadixTree.Read tree =
        switch (state.format()) {
          case KHO_V4 -> RadixTree.read(memory, state.map(), state.address(), scratch, findings);
          case LUO_V5, MEMFD_V2, MEMBLOCK_V1, RESERVE_MEM_V1, KEXEC_METADATA_1 ->
              throw new IllegalStateException(state.format() + " is no format of a state tree");
        };
    map = tree.map();
    mapWasRead = !tree.nodes().isEmpty();
    ownership = new Ownership(map);
    claim(new Owner.Tree(), state.address(), state.size(), "the state tree");
    Optional<KexecMetadata> metadata = Optional.empty();
    Optional<LuoState> luo = Optional.empty();
    List<ReservedRegion> regions = List.of();
    for (StateTree.SubTree each : state.subTrees()) {
      String where = "sub-tree " + each.name();
      if (!inMemory(each.address(), each.size(), state.address(), where)) {
        continue;
      }
      claim(new Owner.Blob(each.name()), each.address(), each.size(), where);
      switch (each.name()) {
        case KexecMetadata.NAME -> metadata = metadata(each);
        case LuoState.SUB_TREE -> luo = luo(each);
        case ReservedRegion.SUB_TREE -> regions = regions(each);
        default -> {
          // Only its owner knows what it is.
        }
      }
    }
    return Optional.of(
        new Handover(
            memory, start, state, map, tree.nodes().size(), metadata, luo, regions, ownership));
  }

  private void checkScratch() {
    for (MemoryRange each : start.scratch().orElse(List.of())) {
      if (each.address() % PAGE != 0 || each.size() % PAGE != 0) {
        findings.add(
            Rule.SCRATCH, each.address(), "scratch area " + each, "no whole pages", "whole pages");
      } else if (!index.contains(each.address(), each.size())) {
        findings.add(
            Rule.SCRATCH,
            each.address(),
            "scratch area " + each,
            "not in the machine's memory",
            "memory for the next kernel to boot from");
      } else if (scratch.stream().anyMatch(each::overlaps)) {
        findings.add(
            Rule.SCRATCH,
            each.address(),
            "scratch area " + each,
            "it overlaps another",
            "areas apart from one another");
      } else {
        scratch.add(each);
      }
    }
  }

  // The state tree.

  private Optional<FdtTree> tree(long address, String where) {
    if (!inMemory(address, 8, address, where)) {
      return Optional.empty();
    }
    // Big-endian: the header is a device tree's, only the properties are the kernel's own.
    long size = Integer.toUnsignedLong(Integer.reverseBytes(Words.u32(memory.at(address, 8), 4)));
    if (!index.contains(address, size)) {
      findings.add(
          Rule.NO_TREE,
          address,
          where,
          "its header says %d bytes, which are not there".formatted(size),
          "a flattened device tree");
      return Optional.empty();
    }
    try {
      return Optional.of(FdtBlob.of(memory.at(address, size)).tree());
    } catch (FdtException e) {
      findings.add(
          Rule.NO_TREE, address, where, String.valueOf(e.getMessage()), "a flattened device tree");
      return Optional.empty();
    }
  }

  private Optional<StateTree> stateTree() {
    long address = start.stateTree();
    if (!page(address, address, "the state tree")) {
      return Optional.empty();
    }
    Optional<FdtTree> tree = tree(address, "the state tree");
    if (tree.isEmpty()) {
      return Optional.empty();
    }
    FdtNode root = tree.get().root();
    Optional<Format> format = version(Format.Part.KHO, root, address, "the state tree");
    OptionalLong mapRoot = number(root, StateTree.MAP, address, "the state tree's root");
    if (format.isEmpty() || mapRoot.isEmpty()) {
      return Optional.empty();
    }
    List<StateTree.SubTree> subTrees = new ArrayList<>();
    for (FdtNode each : root.children()) {
      String where = "sub-tree " + each.name();
      OptionalLong data = number(each, StateTree.SubTree.ADDRESS, address, where);
      OptionalLong size = number(each, StateTree.SubTree.SIZE, address, where);
      if (data.isPresent() && size.isPresent()) {
        subTrees.add(new StateTree.SubTree(each.name(), data.getAsLong(), size.getAsLong()));
      }
    }
    long size = Integer.toUnsignedLong(Integer.reverseBytes(Words.u32(memory.at(address, 8), 4)));
    return Optional.of(
        new StateTree(format.get(), address, size, tree.get(), mapRoot.getAsLong(), subTrees));
  }

  /** A node's version. */
  private Optional<Format> version(Format.Part part, FdtNode node, long address, String where) {
    List<String> versions;
    try {
      versions = node.property("compatible").map(FdtProperty::strings).orElse(List.of());
    } catch (FdtException e) {
      versions = List.of();
    }
    Optional<Format> known =
        versions.stream().flatMap(each -> Format.find(part, each).stream()).findFirst();
    if (known.isEmpty()) {
      findings.add(
          Rule.UNKNOWN_VERSION,
          address,
          where,
          versions.isEmpty() ? "it says no version" : "its version is " + quoted(versions),
          Format.known(part));
    }
    return known;
  }

  private static String quoted(List<String> versions) {
    return "\"" + String.join("\", \"", versions) + "\"";
  }

  /** A property of eight bytes, as the kernel stores it: little-endian. */
  private OptionalLong number(FdtNode node, String property, long address, String where) {
    Optional<FdtProperty> found = node.property(property);
    if (found.isEmpty() || found.get().size() != 8) {
      findings.add(
          Rule.PROPERTY,
          address,
          where,
          found
              .map(each -> "property %s has %d bytes".formatted(property, each.size()))
              .orElse("property " + property + " is missing"),
          "property " + property + " with 8 bytes");
      return OptionalLong.empty();
    }
    return OptionalLong.of(
        ByteBuffer.wrap(found.get().bytes()).order(ByteOrder.LITTLE_ENDIAN).getLong());
  }

  // Pointers, and what is preserved.

  /** Whether there is memory; if not, that is told. */
  private boolean inMemory(long address, long size, long pointer, String where) {
    if (index.contains(address, size)) {
      return true;
    }
    findings.add(
        Rule.OUTSIDE_MEMORY,
        pointer,
        where,
        "it would be %s bytes at 0x%x".formatted(Long.toUnsignedString(size), address),
        "memory that the machine has");
    return false;
  }

  /** Whether it is the address of a page; if not, that is told. */
  private boolean page(long address, long pointer, String where) {
    if ((address & (PAGE - 1)) != 0) {
      findings.add(
          Rule.UNALIGNED,
          pointer,
          where,
          "it points to 0x%x".formatted(address),
          "the address of a page");
      return false;
    }
    return inMemory(address, PAGE, pointer, where);
  }

  /**
   * Gives an owner the blocks that cover a range of memory. Each page of it must be preserved, and
   * the first one begin a block: the next kernel gets blocks by their first address.
   */
  private void claim(Owner owner, long address, long size, String where) {
    long end = address + size;
    boolean told = false;
    for (long at = address & -PAGE; at < end; ) {
      OptionalInt order = map.orderAt(at);
      if (order.isEmpty()) {
        if (!told) {
          notPreserved(at, where);
        }
        told = true;
        at += PAGE;
      } else {
        claim(owner, new PreservedBlock(at, order.getAsInt()), where);
        told = false;
        at += PreservedBlock.bytes(order.getAsInt());
      }
    }
  }

  private void claim(Owner owner, PreservedBlock block, String where) {
    if (!ownership.claim(owner, block)) {
      findings.add(
          Rule.CLAIMED_TWICE,
          block.address(),
          where,
          "block %s is something else, too".formatted(block.range()),
          "memory of its own");
    }
  }

  private void notPreserved(long address, String where) {
    if (!mapWasRead) {
      // One defect, which was told, is not one of everything that there is.
      return;
    }
    findings.add(
        Rule.NOT_PRESERVED,
        address,
        where,
        map.blockOf(address)
            .map(
                each ->
                    "0x%x is within the preserved block %s, and does not begin one"
                        .formatted(address, each.range()))
            .orElse("0x%x is not preserved".formatted(address)),
        "a preserved block that begins there");
  }

  // Sub-trees.

  /** As much of a blob as any of its known formats takes. */
  private MemorySegment beginning(StateTree.SubTree blob) {
    return memory.at(blob.address(), Math.min(blob.size(), PAGE));
  }

  private Optional<KexecMetadata> metadata(StateTree.SubTree blob) {
    String where = "sub-tree " + KexecMetadata.NAME;
    MemorySegment bytes = beginning(blob);
    if (blob.size() < 4) {
      findings.add(Rule.TOO_SHORT, blob.address(), where, blob.size() + " bytes", "a version");
      return Optional.empty();
    }
    String version = Integer.toUnsignedString(Words.u32(bytes, 0));
    if (Format.find(Format.Part.KEXEC_METADATA, version).isEmpty()) {
      findings.add(
          Rule.UNKNOWN_VERSION,
          blob.address(),
          where,
          "its version is " + version,
          Format.known(Format.Part.KEXEC_METADATA));
      return Optional.empty();
    }
    if (blob.size() < KexecMetadata.SIZE) {
      findings.add(
          Rule.TOO_SHORT,
          blob.address(),
          where,
          blob.size() + " bytes",
          KexecMetadata.SIZE + " bytes");
      return Optional.empty();
    }
    Optional<String> release = Words.text(bytes, KexecMetadata.RELEASE, KexecMetadata.RELEASE_SIZE);
    if (release.isEmpty()) {
      findings.add(
          Rule.NAME,
          blob.address() + KexecMetadata.RELEASE,
          where,
          "the kernel's release is no text that ends",
          "text and a NUL");
      return Optional.empty();
    }
    long count = KexecMetadata.count(bytes);
    if (count == 0) {
      findings.add(
          Rule.COUNT,
          blob.address(),
          where,
          "no kernel has handed over",
          "at least 1: the kernel that wrote this");
    }
    return Optional.of(new KexecMetadata(release.get(), (int) count));
  }

  private List<ReservedRegion> regions(StateTree.SubTree blob) {
    String where = "sub-tree " + blob.name();
    Optional<FdtTree> tree = tree(blob.address(), where);
    if (tree.isEmpty()
        || version(Format.Part.MEMBLOCK, tree.get().root(), blob.address(), where).isEmpty()) {
      return List.of();
    }
    List<ReservedRegion> regions = new ArrayList<>();
    for (FdtNode each : tree.get().root().children()) {
      String region = "reserve_mem " + each.name();
      if (version(Format.Part.RESERVE_MEM, each, blob.address(), region).isEmpty()) {
        continue;
      }
      OptionalLong from = number(each, "start", blob.address(), region);
      OptionalLong size = number(each, "size", blob.address(), region);
      if (from.isPresent()
          && size.isPresent()
          && inMemory(from.getAsLong(), size.getAsLong(), blob.address(), region)) {
        regions.add(
            new ReservedRegion(each.name(), new MemoryRange(from.getAsLong(), size.getAsLong())));
        claim(new Owner.Region(each.name()), from.getAsLong(), size.getAsLong(), region);
      }
    }
    return regions;
  }

  // The orchestrator.

  private Optional<LuoState> luo(StateTree.SubTree blob) {
    String where = "the orchestrator's state";
    MemorySegment bytes = beginning(blob);
    String version = luoVersion(blob, bytes);
    Optional<Format> format = Format.find(Format.Part.LUO, version);
    if (format.isEmpty()) {
      findings.add(
          Rule.UNKNOWN_VERSION,
          blob.address(),
          where,
          version.isEmpty() ? "it says no version" : "its version is \"" + version + "\"",
          Format.known(Format.Part.LUO));
      return Optional.empty();
    }
    if (blob.size() < LUO_SIZE) {
      findings.add(
          Rule.TOO_SHORT, blob.address(), where, blob.size() + " bytes", LUO_SIZE + " bytes");
      return Optional.empty();
    }
    long updates = Words.u64(bytes, LUO_UPDATES);
    if (updates < 1) {
      findings.add(
          Rule.COUNT,
          blob.address() + LUO_UPDATES,
          where,
          "live update number " + updates,
          "at least 1");
    }
    List<Session> sessions =
        sessions(Words.u64(bytes, LUO_SESSIONS), blob.address() + LUO_SESSIONS);
    List<FileBoundObject> objects =
        objects(Words.u64(bytes, LUO_OBJECTS), blob.address() + LUO_OBJECTS);
    return Optional.of(new LuoState(format.get(), updates, sessions, objects));
  }

  /** What it says of its version, also where that was in a device tree, before luo-v3. */
  private static String luoVersion(StateTree.SubTree blob, MemorySegment bytes) {
    try {
      return FdtBlob.of(bytes)
          .tree()
          .root()
          .property("compatible")
          .map(FdtProperty::string)
          .orElse("");
    } catch (FdtException e) {
      return Words.text(bytes, 0, (int) Math.min(blob.size(), 64)).orElse("");
    }
  }

  private interface Entry {
    void at(MemorySegment bytes, long address);
  }

  /**
   * Goes through serialization blocks (include/linux/kho/abi/block.h): pages that each begin with
   * the address of the next and the number of entries in this one.
   *
   * @return how many entries there are
   */
  private long blocks(long first, long pointer, int size, String where, Entry entry) {
    Set<Long> seen = new HashSet<>();
    long entries = 0;
    int most = (PAGE - BLOCK_HEADER) / size;
    for (long at = first, from = pointer; at != 0; ) {
      if (!page(at, from, where)) {
        break;
      }
      if (!seen.add(at)) {
        findings.add(
            Rule.CYCLE,
            from,
            where,
            "the list of blocks comes back to 0x%x".formatted(at),
            "a list that ends");
        break;
      }
      if (seen.size() > MOST_BLOCKS) {
        findings.add(
            Rule.COUNT,
            from,
            where,
            "more than %d blocks".formatted(MOST_BLOCKS),
            "no more than the next kernel accepts");
        break;
      }
      claim(new Owner.Lists(), at, PAGE, where);
      MemorySegment block = memory.at(at, PAGE);
      long count = Words.u64(block, 8);
      if (count < 1 || count > most) {
        findings.add(
            Rule.COUNT,
            at + 8,
            where,
            "a block with %s entries".formatted(Long.toUnsignedString(count)),
            "1 to " + most);
      } else {
        entries += count;
        for (int i = 0; i < count; i++) {
          long offset = BLOCK_HEADER + (long) i * size;
          entry.at(block.asSlice(offset, size), at + offset);
        }
      }
      from = at;
      at = Words.u64(block, 0);
    }
    return entries;
  }

  private Optional<String> name(MemorySegment bytes, int size, long address, String where) {
    Optional<String> name = Words.text(bytes, 0, size).filter(each -> !each.isEmpty());
    if (name.isEmpty()) {
      findings.add(
          Rule.NAME,
          address,
          where,
          "its name is no text that ends",
          "1 to %d characters and a NUL".formatted(size - 1));
    }
    return name;
  }

  private List<Session> sessions(long first, long pointer) {
    List<Session> sessions = new ArrayList<>();
    Set<String> names = new HashSet<>();
    var _ =
        blocks(
            first,
            pointer,
            SESSION_SIZE,
            "the list of sessions",
            (bytes, address) -> {
              String unnamed = "session %d of the list".formatted(sessions.size());
              Optional<String> given = name(bytes, SESSION_NAME, address, unnamed);
              String name = given.orElse(unnamed);
              String where = "session " + name;
              if (given.isPresent() && !names.add(name)) {
                findings.add(
                    Rule.NAME_TWICE, address, where, "another has this name", "unique names");
              }
              sessions.add(
                  new Session(
                      name,
                      files(
                          name,
                          Words.u64(bytes, SESSION_NAME),
                          Words.u64(bytes, SESSION_NAME + 8),
                          address + SESSION_NAME)));
            });
    return sessions;
  }

  private List<PreservedFile> files(String session, long first, long count, long pointer) {
    List<PreservedFile> list = new ArrayList<>();
    Set<Long> tokens = new HashSet<>();
    String listed = "the list of files of session " + session;
    long entries =
        blocks(
            first,
            pointer,
            FILE_SIZE,
            listed,
            (bytes, address) -> {
              long data = Words.u64(bytes, HANDLER_NAME);
              long token = Words.u64(bytes, HANDLER_NAME + 8);
              String where = "session %s, file %s".formatted(session, Long.toUnsignedString(token));
              if (!tokens.add(token)) {
                findings.add(
                    Rule.NAME_TWICE,
                    address,
                    where,
                    "another file has this token",
                    "tokens that are unique in a session");
              }
              Optional<String> handler = name(bytes, HANDLER_NAME, address, where);
              list.add(
                  new PreservedFile(
                      token,
                      handler.orElse(""),
                      data,
                      handler
                          .map(
                              each ->
                                  state(each, session, token, data, address + HANDLER_NAME, where))
                          .orElse(new Unread("its handler has no name"))));
            });
    if (entries != count) {
      findings.add(
          Rule.COUNT,
          pointer + 8,
          "session " + session,
          "it says %s files, and its list has %d".formatted(Long.toUnsignedString(count), entries),
          "the number of its files");
    }
    return list;
  }

  private LuoState.FileState state(
      String handler, String session, long token, long data, long pointer, String where) {
    Optional<Format> format = Format.find(Format.Part.MEMFD, handler);
    if (format.isEmpty()) {
      if (handler.startsWith(MEMFD)) {
        findings.add(
            Rule.UNKNOWN_VERSION,
            pointer,
            where,
            "its version is \"" + handler + "\"",
            Format.known(Format.Part.MEMFD));
      }
      return new Unread("Holdfast does not know what " + handler + " writes");
    }
    Owner description = new Owner.Description(session, token);
    if (!inMemory(data, MEMFD_SIZE, pointer, where)) {
      return new Unread("its description is not there");
    }
    claim(description, data, MEMFD_SIZE, where);
    MemorySegment bytes = memory.at(data, MEMFD_SIZE);
    long position = Words.u64(bytes, 0);
    long size = Words.u64(bytes, 8);
    int seals = Words.u32(bytes, 16);
    int flags = Words.u32(bytes, 20);
    long count = Words.u64(bytes, MEMFD_FOLIOS);
    if (position < 0) {
      findings.add(Rule.VALUE, data, where, "position " + position, "0 or more");
    }
    if ((seals & ~SEALS) != 0) {
      findings.add(
          Rule.FLAGS, data + 16, where, "seals 0x%x".formatted(seals), "seals of 0x3f only");
    }
    if (flags != 0) {
      findings.add(Rule.FLAGS, data + 20, where, "flags 0x%x".formatted(flags), "0");
    }
    if (size < 0) {
      findings.add(Rule.VALUE, data + 8, where, "a size of " + size, "0 or more");
      return new Unread("its size makes no sense");
    }
    long pages = (size + PAGE - 1) / PAGE;
    if (count < 0 || count > MOST_FOLIOS || count > pages || (count == 0 && size > 0)) {
      findings.add(
          Rule.COUNT,
          data + MEMFD_FOLIOS,
          where,
          "%s folios for %d pages".formatted(Long.toUnsignedString(count), pages),
          size == 0 ? "none" : "1 to one for each page");
      return new Unread("its number of folios makes no sense");
    }
    if (count == 0) {
      return new Memfd(format.get(), position, size, seals, new Memfd.Folios(List.of(), 0));
    }
    List<MemorySegment> table =
        vmalloc(
            bytes.asSlice(MEMFD_VMALLOC),
            data + MEMFD_VMALLOC,
            description,
            where + ", its list of folios");
    if (table.size() < (count * Memfd.Folios.SIZE + PAGE - 1) / PAGE) {
      findings.add(
          Rule.TOO_SHORT,
          data + MEMFD_VMALLOC,
          where,
          "its list of %d folios has %d pages".formatted(count, table.size()),
          Memfd.Folios.SIZE + " bytes for each");
      return new Unread("its list of folios is not whole");
    }
    Memfd.Folios folios = new Memfd.Folios(table, count);
    checkFolios(folios, pages, new Owner.Content(session, token), where, data);
    return new Memfd(format.get(), position, size, seals, folios);
  }

  private void checkFolios(
      Memfd.Folios folios, long pages, Owner owner, String where, long address) {
    if (!mapWasRead) {
      // How large a folio is stands there only.
      return;
    }
    long next = 0;
    for (long i = 0; i < folios.count(); i++) {
      Memfd.Folio folio = folios.get(i);
      if (folio.index() != next) {
        findings.add(
            Rule.FOLIO_PLACE,
            folio.address(),
            where,
            "folio %d is at page %s of the file".formatted(i, Long.toUnsignedString(folio.index())),
            "page " + next + ", where the one before ends");
      }
      if ((folio.flags() & ~(Memfd.DIRTY | Memfd.UP_TO_DATE)) != 0) {
        findings.add(
            Rule.FLAGS,
            folio.address(),
            where,
            "folio %d has flags 0x%x".formatted(i, folio.flags()),
            "1, dirty, and 2, up to date");
      }
      OptionalInt order = map.orderAt(folio.address());
      if (order.isPresent()) {
        claim(owner, new PreservedBlock(folio.address(), order.getAsInt()), where);
      } else if (index.contains(folio.address(), PAGE)) {
        notPreserved(folio.address(), where);
      } else {
        findings.add(
            Rule.OUTSIDE_MEMORY,
            address,
            where,
            "folio %d would be at 0x%x".formatted(i, folio.address()),
            "memory that the machine has");
      }
      next = Math.max(next, folio.index()) + (1L << order.orElse(0));
    }
    if (next < pages) {
      findings.add(
          Rule.FOLIO_PLACE,
          address,
          where,
          "its folios end at page %d of %d".formatted(next, pages),
          "folios for all of the file");
    }
  }

  /**
   * The pages of memory that vmalloc() allocated (struct kho_vmalloc: the first chunk, a u32 number
   * of pages, u16 flags, u16 order). A chunk is a page: the address of the next one, and 511
   * addresses of 2^order pages each, as many as come before the first 0.
   */
  private List<MemorySegment> vmalloc(
      MemorySegment bytes, long address, Owner owner, String where) {
    long total = Integer.toUnsignedLong(Words.u32(bytes, 8));
    int flags = Words.u16(bytes, 12);
    int order = Words.u16(bytes, 14);
    if ((flags & ~VMALLOC_FLAGS) != 0) {
      findings.add(
          Rule.FLAGS,
          address + 12,
          where,
          "flags 0x%x".formatted(flags),
          "1, allocated, and 2, huge pages");
    }
    if (order > VMALLOC_MOST_ORDER) {
      findings.add(
          Rule.VALUE,
          address + 14,
          where,
          "pages of order " + order,
          "order " + VMALLOC_MOST_ORDER + " at most");
      return List.of();
    }
    List<MemorySegment> pages = new ArrayList<>();
    Set<Long> seen = new HashSet<>();
    long size = PreservedBlock.bytes(order);
    for (long at = Words.u64(bytes, 0), from = address; at != 0; ) {
      if (!page(at, from, where)) {
        break;
      }
      if (!seen.add(at)) {
        findings.add(
            Rule.CYCLE,
            from,
            where,
            "the list of chunks comes back to 0x%x".formatted(at),
            "a list that ends");
        break;
      }
      claim(owner, at, PAGE, where);
      MemorySegment chunk = memory.at(at, PAGE);
      for (int i = 1; i <= CHUNK_ADDRESSES && Words.u64(chunk, i * 8L) != 0; i++) {
        long part = Words.u64(chunk, i * 8L);
        if (pages.size() + size / PAGE > total) {
          findings.add(
              Rule.COUNT,
              at + i * 8L,
              where,
              "its chunks have more than the %d pages that it says".formatted(total),
              "the number of its pages");
          return pages;
        }
        if (!page(part, at + i * 8L, where) || !inMemory(part, size, at + i * 8L, where)) {
          return List.of();
        }
        claim(owner, part, size, where);
        for (long done = 0; done < size; done += PAGE) {
          pages.add(memory.at(part + done, PAGE));
        }
      }
      from = at;
      at = Words.u64(chunk, 0);
    }
    if (pages.size() != total) {
      findings.add(
          Rule.COUNT,
          address + 8,
          where,
          "it says %d pages, and its chunks have %d".formatted(total, pages.size()),
          "the number of its pages");
    }
    return pages;
  }

  /**
   * Objects that live as long as files do: a header of two words, the number of pages that it and
   * the entries take and the number of entries, which follow.
   */
  private List<FileBoundObject> objects(long first, long pointer) {
    String listed = "the list of file-bound objects";
    List<FileBoundObject> objects = new ArrayList<>();
    if (first == 0 || !page(first, pointer, listed)) {
      return objects;
    }
    MemorySegment header = memory.at(first, PAGE);
    long pages = Words.u64(header, 0);
    long count = Words.u64(header, 8);
    if (pages < 1
        || pages > MOST_BLOCKS
        || !index.contains(first, pages * PAGE)
        || count < 0
        || count > (pages * PAGE - OBJECTS_HEADER) / OBJECT_SIZE) {
      findings.add(
          Rule.COUNT,
          first,
          listed,
          "%s objects on %s pages"
              .formatted(Long.toUnsignedString(count), Long.toUnsignedString(pages)),
          "pages of the machine's memory, and at most %d objects on the first"
              .formatted((PAGE - OBJECTS_HEADER) / OBJECT_SIZE));
      return objects;
    }
    claim(new Owner.Lists(), first, pages * PAGE, listed);
    MemorySegment all = memory.at(first, pages * PAGE);
    Set<String> names = new HashSet<>();
    for (int i = 0; i < count; i++) {
      long offset = OBJECTS_HEADER + (long) i * OBJECT_SIZE;
      MemorySegment bytes = all.asSlice(offset, OBJECT_SIZE);
      String unnamed = "object %d of the list".formatted(i);
      Optional<String> name = name(bytes, OBJECT_NAME, first + offset, unnamed);
      String where = "object " + name.orElse(unnamed);
      if (name.isPresent() && !names.add(name.get())) {
        findings.add(
            Rule.NAME_TWICE, first + offset, where, "another has this name", "unique names");
      }
      long users = Words.u64(bytes, OBJECT_NAME + 8);
      if (users < 1) {
        findings.add(
            Rule.COUNT,
            first + offset + OBJECT_NAME + 8,
            where,
            "%d files need it".formatted(users),
            "at least one: otherwise it would not be there");
      }
      objects.add(new FileBoundObject(name.orElse(""), Words.u64(bytes, OBJECT_NAME), users));
    }
    return objects;
  }
}
