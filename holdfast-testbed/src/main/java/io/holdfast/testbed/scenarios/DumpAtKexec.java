package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;

/**
 * The machine's memory at the last moment of a kernel, when all that it hands over is written: what
 * inspecting tools are tested with.
 */
@Promise("proofs")
public final class DumpAtKexec implements Scenario {
  private static final int CHUNK = 16 << 20;
  private static final String NAMES = "names";

  @Override
  public String title() {
    return "a dump of the memory at machine_kexec has what is handed over, and the kexec goes on";
  }

  @Override
  public Setup setup() {
    return Setup.standard().withMemory(768).withDumpAt("machine_kexec");
  }

  @Override
  public void before(Inside in) throws IOException {
    String session = "dump-" + UUID.randomUUID();
    String content = "content-" + UUID.randomUUID();
    in.remember("session", session);
    in.remember("content", content);
    Files.write(in.exchange().resolve(NAMES), List.of(session, content));
    Fd memory = in.linux().memfd("dumped", 1 << 20);
    in.linux().write(memory, MemorySegment.ofArray(content.getBytes(StandardCharsets.US_ASCII)));
    in.linux().liveUpdate().create(session).preserve(memory, 1);
    in.kexec();
  }

  @Override
  public void after(Inside in) {
    String content = in.recall("content");
    byte[] found = new byte[content.length()];
    try (IncomingSession session = in.linux().liveUpdate().retrieve(in.recall("session"));
        Fd memory = session.retrieve(1)) {
      in.linux().seek(memory, 0);
      in.linux().read(memory, MemorySegment.ofArray(found));
      in.same(
          "the kexec went on after the dump",
          content,
          new String(found, StandardCharsets.US_ASCII));
      session.finish();
    }
  }

  @Override
  public void outside(Outside out) throws IOException {
    List<String> wanted = new ArrayList<>(Files.readAllLines(out.exchange().resolve(NAMES)));
    out.note("the dump has " + (Files.size(out.dump()) >> 20) + " MiB");
    try (InputStream dump = Files.newInputStream(out.dump())) {
      out.same(
          "the dump is an ELF core file",
          "\u007fELF",
          new String(dump.readNBytes(4), StandardCharsets.ISO_8859_1));
    }
    String session = wanted.get(0);
    String content = wanted.get(1);
    wanted.add("kho-v");
    wanted.removeAll(found(out.dump(), wanted));
    out.check("it has the session's name", !wanted.contains(session));
    out.check("it has the memfd's content", !wanted.contains(content));
    out.check("it has KHO's compatible string", !wanted.contains("kho-v"));
    Files.delete(out.dump());
  }

  private static List<String> found(Path dump, List<String> wanted) throws IOException {
    List<String> found = new ArrayList<>();
    String rest = "";
    try (InputStream in = Files.newInputStream(dump)) {
      for (byte[] chunk = in.readNBytes(CHUNK); chunk.length > 0; chunk = in.readNBytes(CHUNK)) {
        // Bytes as characters: searching those is what the JVM is good at.
        String text = rest + new String(chunk, StandardCharsets.ISO_8859_1);
        wanted.stream().filter(w -> !found.contains(w) && text.contains(w)).forEach(found::add);
        rest = text.substring(Math.max(0, text.length() - 200));
      }
    }
    return found;
  }
}
