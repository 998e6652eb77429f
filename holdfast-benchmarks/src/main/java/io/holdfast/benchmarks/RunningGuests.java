package io.holdfast.benchmarks;

import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Consumer;

/** Several test guests that one agent runs, {@code guest0} and so on. */
public final class RunningGuests implements AutoCloseable {
  private final List<VarlinkClient> clients;
  private final List<RunningGuest> guests;

  private RunningGuests(List<VarlinkClient> clients, List<RunningGuest> guests) {
    this.clients = clients;
    this.guests = guests;
  }

  /**
   * Starts them side by side and waits until all are ready.
   *
   * @param directory an existing one, for their disks
   * @param qemu the binary to begin with; the agent's choice when empty
   * @param bytes of memory of each
   */
  public static RunningGuests start(
      AgentProcess agent, int count, Path directory, Optional<String> qemu, long bytes) {
    List<VarlinkClient> clients = new ArrayList<>();
    List<Callable<RunningGuest>> starts = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      String name = "guest" + i;
      VarlinkClient client = agent.client();
      clients.add(client);
      starts.add(
          () -> RunningGuest.start(client, name, directory, qemu, Optional.empty(), bytes, 1));
    }
    List<RunningGuest> guests = new ArrayList<>();
    RunningGuests all = new RunningGuests(clients, guests);
    try (ExecutorService threads = Executors.newFixedThreadPool(count)) {
      for (Future<RunningGuest> each : threads.invokeAll(starts)) {
        guests.add(each.get());
      }
      return all;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      all.close();
      throw new IllegalStateException("interrupted while guests started", e);
    } catch (ExecutionException e) {
      all.close();
      throw new IllegalStateException("a guest did not start", e.getCause());
    }
  }

  /** The guests. */
  public List<RunningGuest> all() {
    return guests;
  }

  /** One of them. */
  public RunningGuest get(int index) {
    return guests.get(index);
  }

  /**
   * Updates all of them at once.
   *
   * @param qemu the binary to go to; the same when empty
   * @param parallel how many at once; the agent's choice when empty
   * @param batch gets the id by which all can be cancelled
   * @param progress gets each {@code Progress} of io.holdfast.Update
   * @return the {@code Report}s
   */
  public List<JsonObject> update(
      Optional<String> qemu,
      OptionalLong parallel,
      Consumer<String> batch,
      Consumer<JsonObject> progress) {
    List<JsonObject> reports = new ArrayList<>();
    clients
        .getFirst()
        .callMore(
            "io.holdfast.Update.Vmms",
            JsonObject.of("qemu", qemu, "parallel", parallel),
            List.of(),
            reply -> {
              JsonObject news = reply.parameters();
              news.optionalString("batch").ifPresent(batch);
              news.optionalObject("progress").ifPresent(progress);
              news.optionalArray("reports").ifPresent(all -> reports.addAll(all.objects()));
            });
    return reports;
  }

  /** Lets go of them; the VMs are the agent's. */
  @Override
  public void close() {
    guests.forEach(RunningGuest::close);
    clients.forEach(VarlinkClient::close);
  }
}
