package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.StoreKey;
import io.holdfast.testkit.FormatZero;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.vm.probe.QemuProbe;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.function.Predicate;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class VmsTest {
  @TempDir Path run;

  /** Keeps nothing, and takes its time to say so. */
  private static final class SlowStore implements DescriptorStore {
    private final CountDownLatch asked = new CountDownLatch(1);
    private final CountDownLatch answers = new CountDownLatch(1);
    private volatile boolean slow;

    @Override
    public void put(StoreKey key, Fd fd) {}

    @Override
    public void drop(Set<? extends StoreKey> keys) {}

    @Override
    public Set<StoreKey> keys() {
      return Set.of();
    }

    @Override
    public Map<StoreKey, Fd> all(Predicate<? super StoreKey> wanted) {
      if (slow) {
        asked.countDown();
        try {
          answers.await();
        } catch (InterruptedException e) {
          throw new IllegalStateException(e);
        }
      }
      return Map.of();
    }

    @Override
    public Optional<Fd> find(StoreKey key) {
      return Optional.empty();
    }

    @Override
    public String describe() {
      return "nobody";
    }

    @Override
    public int size() {
      return 0;
    }

    @Override
    public void close() {}

    @Override
    public void end() {}
  }

  /** Its journal is tried again at the moment at which the VM is being taken back. */
  @Test
  void vmThatIsTakenBackIsNotTakenByAnUpdateBefore() throws IOException, InterruptedException {
    AgentPaths places = new AgentPaths(run, run.resolve("agent.sock"));
    places.create();
    SlowStore store = new SlowStore();
    Linux linux = Linux.system();
    Vms vms = new Vms(linux, places, store, new QemuProbe(linux, run), Optional.empty());
    String name = "adopted";
    Path record = Files.createDirectories(places.vm(name)).resolve("vm.json");
    Files.writeString(record, "{\"format\":99}");
    vms.expect();
    vms.recover(_ -> {}, (_, _) -> false, (_, _) -> true);
    assertThat(vms.unknown()).containsExactly(name);
    Files.write(record, FormatZero.golden("vm-adopted.json"));
    store.slow = true;
    CompletableFuture<Boolean> taken =
        CompletableFuture.supplyAsync(() -> vms.takeBack(name, new ArrayList<>(), (_, _) -> false));
    store.asked.await();
    assertThatThrownBy(() -> vms.claimRecovered(name, "update u1"))
        .isInstanceOf(VarlinkError.class);
    store.answers.countDown();
    assertThat(taken.join()).isTrue();
    assertThat(vms.claimRecovered(name, "update u1").spec().name()).isEqualTo(name);
    vms.release(name);
    vms.close();
  }
}
