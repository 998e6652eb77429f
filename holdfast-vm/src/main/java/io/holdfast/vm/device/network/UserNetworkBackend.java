package io.holdfast.vm.device.network;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.TcpListener;
import io.holdfast.store.StoreKey;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.device.Backend;
import io.holdfast.vm.device.BackendContext;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.spec.Findings;
import io.holdfast.vm.spec.UserNetwork;
import io.holdfast.vm.spec.UserNetwork.HostForward;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The host's ports into a guest's own network. The agent listens on them and passes each connection
 * on to a port that the generation that runs the guest has for itself; so a successor competes for
 * none, and nobody is refused: while the guest stands still, or no agent runs, connections wait.
 *
 * <p>The descriptor store holds the listening sockets, and for each generation a memfd with the
 * numbers of its ports as text.
 */
public final class UserNetworkBackend implements Backend {
  private static final int BACKLOG = 128;
  private static final int LONGEST = 4096;

  /** A line of QEMU's {@code info usernet}: state, descriptor, address and port, twice. */
  private static final Pattern FORWARD =
      Pattern.compile("\\s*TCP\\[HOST_FORWARD]\\s+\\d+\\s+\\S+\\s+(\\d+)\\s+\\S+\\s+(\\d+)\\s.*");

  private final BackendContext context;
  private final UserNetwork network;
  private final HostPorts ports;

  /** The port of each forward in a generation's QEMU, in their order. */
  private final Map<Integer, List<Integer>> known = new HashMap<>();

  /** The generation that runs the guest; 0 before there is one. */
  private int current;

  /** Opens nothing yet. */
  public UserNetworkBackend(BackendContext context, UserNetwork network) {
    this.context = context;
    this.network = network;
    this.ports =
        new HostPorts(context.linux(), context.vm(), network.id(), ConnectionBudget.ofProcess());
  }

  private StoreKey listenerKey(int forward) {
    return new StoreKey.Backend(context.id(), network.id(), "host-" + forward);
  }

  private StoreKey portsKey(int generation) {
    return new StoreKey.Backend(context.id(), network.id(), Integer.toString(generation));
  }

  @Override
  public Map<String, Fd> open(int generation) throws IOException {
    if (current == 0) {
      List<TcpListener> opened = listeners();
      for (int i = 0; i < opened.size(); i++) {
        ports.listen(opened.get(i));
        context.store().put(listenerKey(i), opened.get(i).fd());
      }
      current = generation;
    }
    return Map.of();
  }

  /** All of them, or none: an address may not be there yet, and be tried again later. */
  private List<TcpListener> listeners() throws IOException {
    List<TcpListener> opened = new ArrayList<>();
    boolean done = false;
    try {
      for (int i = 0; i < network.forwards().size(); i++) {
        HostForward forward = network.forwards().get(i);
        // An agent that died while it brought the VM back from another kernel may have opened it.
        Optional<Fd> kept = context.store().find(listenerKey(i));
        opened.add(
            kept.isPresent()
                ? context.linux().adoptListener(kept.get())
                : context.linux().listen(address(forward.address(), forward.port()), BACKLOG));
      }
      done = true;
      return opened;
    } finally {
      if (!done) {
        opened.forEach(TcpListener::close);
      }
    }
  }

  /** An IPv4 address as four numbers; no name is looked up. */
  private static InetSocketAddress address(String host, int port) throws UnknownHostException {
    String[] numbers = host.split("\\.", -1);
    byte[] bytes = new byte[numbers.length];
    for (int i = 0; i < numbers.length; i++) {
      bytes[i] = (byte) Integer.parseInt(numbers[i]);
    }
    return new InetSocketAddress(InetAddress.getByAddress(bytes), port);
  }

  @Override
  public void plan(Findings findings) {
    String what = "network " + network.id();
    network
        .forwards()
        .forEach(
            forward ->
                findings.preserved(
                    "port "
                        + forward
                        + " of the host stays open; who connects while the guest stands still waits"));
    findings.loss(
        what
            + ": connections through QEMU's own network don't survive. Those that came in by a port of the host are reset; those"
            + " that the guest made end when it next sends. A bridge (--net tap) keeps them");
  }

  @Override
  public void prepared(int generation, Qmp qmp) throws IOException {
    if (network.forwards().isEmpty()) {
      return;
    }
    String told =
        qmp.execute("human-monitor-command", JsonObject.of("command-line", "info usernet"))
            .string("return");
    List<Integer> found = ports(told);
    known.put(generation, found);
    String text = String.join(" ", found.stream().map(String::valueOf).toList());
    Linux linux = context.linux();
    try (Fd kept = linux.memfd("ports of " + portsKey(generation).text(), 0)) {
      linux.write(kept, MemorySegment.ofArray(text.getBytes(StandardCharsets.US_ASCII)));
      context.store().put(portsKey(generation), kept);
    }
  }

  private List<Integer> ports(String told) throws IOException {
    Map<Integer, Integer> byGuestPort = new HashMap<>();
    boolean mine = false;
    for (String line : told.lines().toList()) {
      Matcher forward = FORWARD.matcher(line.strip() + " ");
      if (forward.matches()) {
        if (mine) {
          byGuestPort.put(Integer.parseInt(forward.group(2)), Integer.parseInt(forward.group(1)));
        }
      } else if (line.endsWith("):")) {
        mine = line.endsWith("(" + network.id() + "):");
      }
    }
    List<Integer> found = new ArrayList<>();
    for (HostForward forward : network.forwards()) {
      Integer port = byGuestPort.get(forward.guestPort());
      if (port == null) {
        throw new IOException(
            "QEMU does not tell its port for the guest's port "
                + forward.guestPort()
                + "; `info usernet` says: "
                + told.strip());
      }
      found.add(port);
    }
    return found;
  }

  @Override
  public void attached(int generation) throws IOException {
    boolean found = current == 0;
    current = generation;
    if (network.forwards().isEmpty()) {
      return;
    }
    if (found) {
      find(generation);
    }
    pass(generation);
  }

  /** What an earlier agent had. */
  private void find(int generation) throws IOException {
    for (int i = 0; i < network.forwards().size(); i++) {
      Optional<Fd> listener = context.store().find(listenerKey(i));
      if (listener.isEmpty()) {
        throw new IOException(
            "nobody listens on port " + network.forwards().get(i) + " of the host any more");
      }
      ports.listen(context.linux().adoptListener(listener.get()));
    }
    for (int each : List.of(generation, generation + 1)) {
      Optional<Fd> told = context.store().find(portsKey(each));
      if (told.isPresent()) {
        try (Fd text = told.get()) {
          known.put(each, read(text));
        }
      }
    }
  }

  private List<Integer> read(Fd told) {
    Linux linux = context.linux();
    byte[] text = new byte[LONGEST];
    linux.seek(told, 0);
    int length = linux.read(told, MemorySegment.ofArray(text));
    return List.of(new String(text, 0, length, StandardCharsets.US_ASCII).split(" ", -1)).stream()
        .map(Integer::valueOf)
        .toList();
  }

  private void pass(int generation) throws IOException {
    List<Integer> numbers = known.get(generation);
    if (numbers == null) {
      throw new IOException(
          "the ports of generation " + generation + " of VM " + context.vm() + " are not known");
    }
    List<InetSocketAddress> guests = new ArrayList<>();
    for (int number : numbers) {
      guests.add(
          new InetSocketAddress(InetAddress.getByAddress(new byte[] {127, 0, 0, 1}), number));
    }
    ports.passTo(generation, guests);
  }

  @Override
  public void frozen(int generation) {
    ports.hold();
  }

  @Override
  public void stays(int generation) {
    ports.goOn();
  }

  @Override
  public void switchTo(int generation) {
    current = generation;
    ports.hold();
  }

  @Override
  public void running(int generation, Qmp qmp) throws IOException {
    if (network.forwards().isEmpty()) {
      return;
    }
    if (!known.containsKey(generation)) {
      prepared(generation, qmp);
    }
    pass(generation);
  }

  @Override
  public void drop(int generation) throws IOException {
    Set<StoreKey> keys = new HashSet<>(Set.of(portsKey(generation)));
    known.remove(generation);
    if (generation == current) {
      for (int i = 0; i < network.forwards().size(); i++) {
        keys.add(listenerKey(i));
      }
      ports.close();
    } else {
      // After a cancelled update the predecessor goes on.
      ports.goOn();
    }
    context.store().drop(keys);
  }

  @Override
  public void close() {
    ports.close();
  }
}
