package io.holdfast.kho.build;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.kho.Handover;
import io.holdfast.kho.LiveHost;
import io.holdfast.kho.StartingPoint;
import io.holdfast.kho.StateTree;
import io.holdfast.kho.memory.MemoryException;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What debugfs shows, from a folder that looks like it, and an arena that stands for memory. */
final class LiveHostTest {
  @TempDir private Path debugfs;
  private final Example example = new Example(1);
  private final StartingPoint start = example.outgoing.finish();
  private final Handover handover = Handover.read(example.arena, start);
  private Path out;

  @BeforeEach
  void show() throws IOException {
    out = Files.createDirectories(debugfs.resolve("kho/out"));
    Files.writeString(out.resolve("scratch_phys"), "0x100800000\n0x100c00000\n0x101000000\n");
    Files.writeString(out.resolve("scratch_len"), "0x400000\n0x0\n0x400000\n");
    Path blobs = Files.createDirectory(out.resolve("sub_fdts"));
    Files.write(blobs.resolve("LUO"), new byte[32]);
    Files.write(blobs.resolve("kexec-metadata"), new byte[73]);
  }

  private byte[] tree() {
    return example
        .arena
        .at(start.stateTree(), handover.state().size())
        .toArray(ValueLayout.JAVA_BYTE);
  }

  @Test
  @Promise("handovers")
  void aTreeThatIsShownWholeIsFoundInMemory() throws IOException {
    Files.write(out.resolve("fdt"), tree());
    LiveHost live = LiveHost.read(debugfs);
    assertThat(live.outgoing()).contains(handover.state().tree());
    assertThat(live.scratch()).isEqualTo(example.outgoing.map().scratch());
    assertThat(live.outgoingBlobs())
        .containsExactly(new LiveHost.Blob("LUO", 32), new LiveHost.Blob("kexec-metadata", 73));
    assertThat(live.start(example.arena).map(StartingPoint::stateTree)).contains(start.stateTree());
    assertThat(live.notKnown()).singleElement().asString().contains("in the reboot call");
  }

  @Test
  @Promise("handovers")
  void aTreeThatIsCutOffIsFoundInMemoryToo() throws IOException {
    // As much as there was before any sub-tree: the header, the root's two properties.
    Files.write(out.resolve("fdt"), Arrays.copyOf(tree(), 150));
    LiveHost live = LiveHost.read(debugfs);
    assertThat(live.outgoing()).isEmpty();
    assertThat(live.map()).hasValue(handover.state().map());
    assertThat(live.notKnown()).anyMatch(each -> each.contains("150 bytes, and it has grown"));
    StartingPoint found = live.start(example.arena).orElseThrow();
    assertThat(Handover.read(example.arena, found).state()).isEqualTo(handover.state());
  }

  @Test
  @Promise("handovers")
  void whatIsNotShownIsSaidAndNotGuessed() throws IOException {
    Path in = Files.createDirectories(debugfs.resolve("kho/in/sub_fdts"));
    Files.write(in.resolve("LUO"), new byte[32]);
    Files.write(debugfs.resolve("kho/in/fdt"), tree());
    LiveHost live = LiveHost.read(debugfs);
    assertThat(live.outgoing()).isEmpty();
    assertThat(live.map()).isEmpty();
    assertThat(live.start(example.arena)).isEmpty();
    assertThat(live.incoming().orElseThrow().root().property(StateTree.MAP)).isPresent();
    assertThat(live.notKnown())
        .hasSize(3)
        .anyMatch(each -> each.contains("does not show it"))
        .anyMatch(each -> each.contains("something else"));
  }

  @Test
  @Promise("handovers")
  void nonsenseIsRefusedOrLeftOut() throws IOException {
    for (int size = 0; size < 150; size++) {
      Files.write(out.resolve("fdt"), Arrays.copyOf(tree(), size));
      assertThat(LiveHost.read(debugfs).outgoing()).isEmpty();
    }
    Files.writeString(out.resolve("scratch_len"), "0x400000\n");
    assertThatThrownBy(() -> LiveHost.read(debugfs)).hasMessageContaining("3 addresses of scratch");
    Files.writeString(out.resolve("scratch_len"), "0x400000\nmuch\n0x0\n");
    assertThatThrownBy(() -> LiveHost.read(debugfs)).hasMessageContaining("are no scratch area");
    assertThatThrownBy(() -> LiveHost.read(debugfs.resolve("kho")))
        .isInstanceOf(MemoryException.class)
        .hasMessageContaining("no Kexec HandOver");
  }
}
