package io.holdfast.benchmarks;

import io.holdfast.varlink.json.JsonObject;
import java.io.BufferedReader;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.DatagramChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;

/**
 * Talks with the network part of a test guest, as {@code guest/README.md} describes it: {@code
 * TrafficPeer ADDRESS}. A stream and numbered datagrams go each way, all at once and without a
 * pause, and every byte is checked. Times are those of System.nanoTime, which on Linux is the same
 * clock for all processes.
 *
 * <p>To each line on its standard input it answers with one: to {@code status} how far it is, to
 * {@code stop} what became of it all, after which it ends.
 */
final class TrafficPeer {
  static final int SENDS = 7001;
  static final int VERIFIES = 7002;
  static final int DATAGRAMS = 7003;
  static final int ARRIVED = 7004;

  private static final int DATAGRAM_WORDS = 32;
  private static final int MOST_DATAGRAMS = 1 << 20;
  private static final int PIECE = 16 * 1024;

  /** Between two datagrams, and between two pieces of a stream: 1,000 and 4 MiB a second. */
  private static final long PACE_NANOS = 1_000_000;

  private static final long STREAM_PACE_NANOS = 4_000_000;

  /** How long what is under way may take when all is quiet. */
  private static final long STRAGGLERS_MILLIS = 2_000;

  private final InetAddress guest;
  private final long seed = System.nanoTime() | 1;

  private final List<String> errors = new CopyOnWriteArrayList<>();
  private volatile boolean stopping;
  private final AtomicLong received = new AtomicLong();
  private final AtomicLong sent = new AtomicLong();
  private volatile long acknowledged;
  private volatile int datagramsSent;
  private final AtomicInteger datagramsReceived = new AtomicInteger();

  /**
   * By number, before it was sent and after that; when it had not arrived yet, and when it had, 0
   * if it never did: System.nanoTime. However late this process runs, each event lies between both.
   */
  private final long[] sentAfter = new long[MOST_DATAGRAMS];

  private final long[] sentBy = new long[MOST_DATAGRAMS];
  private final long[] arrivedAfter = new long[MOST_DATAGRAMS];
  private final long[] arrivedBy = new long[MOST_DATAGRAMS];
  private final AtomicInteger doubled = new AtomicInteger();
  private final AtomicInteger wrong = new AtomicInteger();

  private TrafficPeer(InetAddress guest) {
    this.guest = guest;
  }

  /** Byte {@code at} of a seed's stream. */
  static byte streamByte(long seed, long at) {
    return (byte) (GuestFormat.word(seed, at / 8) >>> (at % 8 * 8));
  }

  private static void fill(byte[] piece, long seed, long at) {
    ByteBuffer words = ByteBuffer.wrap(piece).order(ByteOrder.LITTLE_ENDIAN);
    for (long word = at / 8; words.hasRemaining(); word++) {
      words.putLong(GuestFormat.word(seed, word));
    }
  }

  private interface Work {
    void run() throws IOException;
  }

  private Thread start(String name, Work work) {
    return Thread.ofPlatform()
        .daemon()
        .name(name)
        .start(
            () -> {
              try {
                work.run();
              } catch (IOException | RuntimeException e) {
                if (!stopping) {
                  errors.add(name + ": " + e);
                }
              }
            });
  }

  private Socket connect(int port) throws IOException {
    Socket socket = new Socket(guest, port);
    socket.setTcpNoDelay(true);
    return socket;
  }

  private static byte[] word(long value) {
    return ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array();
  }

  private void receiveStream(Socket socket) throws IOException {
    socket.getOutputStream().write(word(seed));
    InputStream in = socket.getInputStream();
    byte[] piece = new byte[PIECE];
    byte[] right = new byte[PIECE + 8];
    while (!stopping) {
      int bytes = in.read(piece);
      if (bytes < 0) {
        throw new EOFException("the guest ended the stream after " + received + " bytes");
      }
      int ahead = (int) (received.get() % 8);
      fill(right, seed, received.get() - ahead);
      if (!Arrays.equals(piece, 0, bytes, right, ahead, ahead + bytes)) {
        throw new IOException(
            "of the stream from the guest, something in the "
                + bytes
                + " bytes after "
                + received
                + " is wrong");
      }
      received.addAndGet(bytes);
      LockSupport.parkNanos(STREAM_PACE_NANOS);
    }
  }

  private void sendStream(Socket socket) throws IOException {
    OutputStream out = socket.getOutputStream();
    out.write(word(seed));
    byte[] piece = new byte[PIECE];
    while (!stopping) {
      fill(piece, seed, sent.get());
      out.write(piece);
      sent.addAndGet(piece.length);
      LockSupport.parkNanos(STREAM_PACE_NANOS);
    }
    socket.shutdownOutput();
  }

  /** Until the guest has closed, which it does when it has checked everything. */
  private void readAcknowledgements(Socket socket) throws IOException {
    InputStream in = socket.getInputStream();
    for (byte[] word = in.readNBytes(8); word.length == 8; word = in.readNBytes(8)) {
      acknowledged = ByteBuffer.wrap(word).order(ByteOrder.LITTLE_ENDIAN).getLong();
    }
  }

  private static long datagramWord(long seed, long n, int word) {
    return word == 0
        ? seed
        : word == 1 ? n : GuestFormat.word(GuestFormat.mix(seed ^ GuestFormat.mix(n)), word);
  }

  private static ByteBuffer datagram() {
    return ByteBuffer.allocateDirect(DATAGRAM_WORDS * 8 + 8).order(ByteOrder.LITTLE_ENDIAN);
  }

  private void sendDatagrams(DatagramChannel channel) throws IOException {
    ByteBuffer buffer = datagram();
    InetSocketAddress to = new InetSocketAddress(guest, DATAGRAMS);
    for (int n = 0; n < MOST_DATAGRAMS && !stopping; n++) {
      buffer.clear();
      for (int w = 0; w < DATAGRAM_WORDS; w++) {
        buffer.putLong(datagramWord(seed, n, w));
      }
      sentAfter[n] = System.nanoTime();
      buffer.flip();
      while (channel.send(buffer, to) == 0) {
        LockSupport.parkNanos(PACE_NANOS); // no room, which does not block a channel of a selector
      }
      sentBy[n] = System.nanoTime();
      datagramsSent = n + 1;
      LockSupport.parkNanos(PACE_NANOS);
    }
  }

  private void receiveDatagrams(DatagramChannel channel, Selector selector) throws IOException {
    ByteBuffer buffer = datagram();
    long emptyAt = System.nanoTime();
    while (true) {
      buffer.clear();
      long before = System.nanoTime();
      if (channel.receive(buffer) == null) {
        emptyAt = before;
        int _ = selector.select();
        selector.selectedKeys().clear();
        continue;
      }
      buffer.flip();
      boolean right = buffer.limit() == DATAGRAM_WORDS * 8 && buffer.getLong(0) == ~seed;
      long n = right ? buffer.getLong(8) : -1;
      right = right && n >= 0 && n < MOST_DATAGRAMS;
      for (int w = 2; right && w < DATAGRAM_WORDS; w++) {
        right = buffer.getLong(w * 8) == datagramWord(~seed, n, w);
      }
      if (!right) {
        wrong.incrementAndGet();
      } else if (arrivedBy[(int) n] != 0) {
        doubled.incrementAndGet();
      } else {
        arrivedAfter[(int) n] = emptyAt;
        arrivedBy[(int) n] = System.nanoTime();
        datagramsReceived.incrementAndGet();
      }
    }
  }

  /** What the guest says of the peer's datagrams. */
  private ByteBuffer arrived() throws IOException {
    try (Socket socket = connect(ARRIVED)) {
      return ByteBuffer.wrap(socket.getInputStream().readAllBytes()).order(ByteOrder.LITTLE_ENDIAN);
    }
  }

  private JsonObject status() {
    return JsonObject.of(
        "received", received.get(),
        "acknowledged", acknowledged,
        "datagramsSent", datagramsSent,
        "datagramsReceived", datagramsReceived.get(),
        "errors", List.copyOf(errors));
  }

  private JsonObject result(List<Thread> ends) throws IOException, InterruptedException {
    stopping = true;
    for (Thread each : ends) {
      each.join(20_000);
      if (each.isAlive()) {
        errors.add(each.getName() + " does not end");
      }
    }
    if (errors.isEmpty() && acknowledged != sent.get()) {
      errors.add("of " + sent + " bytes to the guest " + acknowledged + " were right");
    }
    long guestSent = arrived().getLong(8); // what it sends from now on does not count
    Thread.sleep(STRAGGLERS_MILLIS);
    ByteBuffer told = arrived();
    if (told.getLong(0) != seed) {
      errors.add("the guest knows another peer");
    }
    BitSet toGuest = new BitSet();
    for (int n = 0; n < datagramsSent; n++) {
      toGuest.set(n, (told.getLong(32 + n / 64 * 8) >>> (n % 64) & 1) != 0);
    }
    BitSet fromGuest = new BitSet();
    for (int n = 0; n < guestSent; n++) {
      fromGuest.set(n, arrivedBy[n] != 0);
    }
    List<JsonObject> lostToGuest = lost(toGuest, datagramsSent, sentAfter, sentBy);
    List<JsonObject> lostFromGuest =
        lost(fromGuest, Math.toIntExact(guestSent), arrivedAfter, arrivedBy);
    return status()
        .with("guestSent", guestSent)
        .with("lostToGuest", lostToGuest)
        .with("lostFromGuest", lostFromGuest)
        .with("doubled", doubled.get() + told.getLong(16))
        .with("wrong", wrong.get() + told.getLong(24))
        .with("errors", List.copyOf(errors));
  }

  /**
   * The runs of datagrams that were lost, each between the neighbours that were not: after the one
   * before it, and by the one that follows it.
   */
  private static List<JsonObject> lost(BitSet got, int sent, long[] after, long[] by) {
    List<JsonObject> runs = new ArrayList<>();
    for (int n = got.nextClearBit(0); n < sent; n = got.nextClearBit(n)) {
      int next = got.nextSetBit(n);
      int end = next < 0 ? sent : next;
      runs.add(
          JsonObject.of(
              "count", end - n,
              "after", n == 0 ? 0 : after[n - 1],
              "by", next < 0 ? System.nanoTime() : by[next]));
      n = end;
    }
    return runs;
  }

  private void run() throws IOException, InterruptedException {
    try (Socket from = connect(SENDS);
        Socket to = connect(VERIFIES);
        DatagramChannel datagrams = DatagramChannel.open();
        Selector selector = Selector.open()) {
      datagrams.setOption(java.net.StandardSocketOptions.SO_RCVBUF, 4 << 20);
      datagrams.bind(null);
      datagrams.configureBlocking(false);
      var _ = datagrams.register(selector, SelectionKey.OP_READ);
      List<Thread> ends =
          List.of(
              start("stream from the guest", () -> receiveStream(from)),
              start("stream to the guest", () -> sendStream(to)),
              start("what the guest says of it", () -> readAcknowledgements(to)),
              start("datagrams to the guest", () -> sendDatagrams(datagrams)));
      var _ = start("datagrams from the guest", () -> receiveDatagrams(datagrams, selector));
      BufferedReader orders =
          new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
      System.out.println(status());
      for (String order = orders.readLine(); order != null; order = orders.readLine()) {
        if (order.equals("stop")) {
          System.out.println(result(ends));
          return;
        }
        System.out.println(status());
      }
    }
  }

  /** Runs until it is told to stop, or whoever started it is gone. */
  public static void main(String[] args) throws IOException, InterruptedException {
    new TrafficPeer(InetAddress.getAllByName(args[0])[0]).run();
  }
}
