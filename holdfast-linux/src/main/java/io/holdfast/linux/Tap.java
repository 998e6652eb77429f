package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/**
 * A TAP: a network interface whose other end is a process (the kernel's
 * Documentation/networking/tuntap.rst). What is sent out of the interface is read from one of its
 * queues, what is written there comes in; each packet has a {@code virtio_net_hdr} before it.
 *
 * <p>It is there for as long as anybody has one of its queues open: it vanishes with the process
 * that it was made for, whatever becomes of that.
 */
public final class Tap implements AutoCloseable {
  private static final String DEVICE = "/dev/net/tun";

  private static final int TUNSETIFF = 0x400454ca;
  private static final int TUNGETVNETHDRSZ = 0x800454d7;
  private static final int IFF_TAP = 0x0002;
  private static final int IFF_MULTI_QUEUE = 0x0100;
  private static final int IFF_NO_PI = 0x1000;
  private static final int IFF_VNET_HDR = 0x4000;
  private static final int IFF_TUN_EXCL = 0x8000;

  /** The longest packet there is, after its headers. */
  private static final int PACKET_BYTES = 64 * 1024 + 1024;

  private static final int AF_PACKET = 17;
  private static final int SOCK_RAW = 3;
  private static final int SOL_PACKET = 263;
  private static final int PACKET_VNET_HDR = 15;

  // struct sockaddr_ll: short family, short protocol, int index, and more that sending needs not.
  private static final int SOCKADDR_BYTES = 20;
  private static final int INDEX = 4;

  /** struct virtio_net_hdr; a TAP's may be longer, by fields that a packet socket has not. */
  private static final int HEADER_BYTES = 10;

  private final NetworkInterface networkInterface;
  private final List<Fd> queues;

  private Tap(NetworkInterface networkInterface, List<Fd> queues) {
    this.networkInterface = networkInterface;
    this.queues = List.copyOf(queues);
  }

  static Tap make(Calls calls, String name, int count) {
    if (count < 1) {
      throw new IllegalArgumentException("a TAP of " + count + " queues");
    }
    NetworkInterface made = new NetworkInterface(calls, name);
    List<Fd> queues = new ArrayList<>();
    try {
      for (int i = 0; i < count; i++) {
        // The first one makes the interface, and must not attach to somebody else's.
        queues.add(queue(calls, name, count > 1, i == 0));
      }
      return new Tap(made, queues);
    } catch (Throwable t) {
      queues.forEach(Fd::close);
      throw t;
    }
  }

  private static Fd queue(Calls calls, String name, boolean several, boolean first) {
    int flags =
        IFF_TAP
            | IFF_NO_PI
            | IFF_VNET_HDR
            | (several ? IFF_MULTI_QUEUE : 0)
            | (first ? IFF_TUN_EXCL : 0);
    try (Arena arena = Arena.ofConfined()) {
      long number =
          calls.attempt(
              Call.OPEN,
              Field.string(arena, DEVICE).address(),
              OpenFlag.bits(OpenFlag.READ, OpenFlag.WRITE, OpenFlag.NONBLOCK) | Linux.O_CLOEXEC);
      Fd fd =
          calls.own(
              SystemCallException.check(number, Call.OPEN, DEVICE, Advice::onTap), "TAP " + name);
      try {
        MemorySegment request = NetworkInterface.request(arena, name);
        Field.setShort(request, NetworkInterface.VALUE, flags);
        SystemCallException.check(
            calls.attemptOn(Call.IOCTL, fd, TUNSETIFF, request.address()),
            Call.IOCTL,
            fd.what(),
            Advice::onTap);
        return fd;
      } catch (Throwable t) {
        fd.close();
        throw t;
      }
    }
  }

  /** The interface, which is down at first. */
  public NetworkInterface networkInterface() {
    return networkInterface;
  }

  /** Its queues, still this object's; reading and writing never wait. */
  public List<Fd> queues() {
    return queues;
  }

  /** Closes the queues; where nobody else has one, the interface vanishes. */
  @Override
  public void close() {
    queues.forEach(Fd::close);
  }

  @Override
  public String toString() {
    return "TAP " + networkInterface.name();
  }

  static int passOn(Calls calls, List<Fd> queues, NetworkInterface to, int most) {
    int passed = 0;
    try (Arena arena = Arena.ofConfined();
        Fd out = packetSocket(calls, arena, to)) {
      MemorySegment size = arena.allocate(ValueLayout.JAVA_INT);
      MemorySegment packet = arena.allocate(PACKET_BYTES, Long.BYTES);
      for (Fd queue : queues) {
        calls.on(Call.IOCTL, queue, TUNGETVNETHDRSZ, size.address());
        int surplus = Field.getInt(size, 0) - HEADER_BYTES;
        for (int i = 0; i < most; i++) {
          long n = calls.attemptOn(Call.READ, queue, packet.address(), packet.byteSize());
          if (n == -Errno.EAGAIN.number()) {
            break;
          }
          long length = SystemCallException.check(n, Call.READ, queue.what()) - surplus;
          MemorySegment.copy(packet, 0, packet, surplus, HEADER_BYTES);
          long sent = calls.attemptOn(Call.WRITE, out, packet.address() + surplus, length);
          // One that finds no room there is lost, as it would be on any wire.
          if (sent != -Errno.ENOBUFS.number()) {
            SystemCallException.check(sent, Call.WRITE, out.what());
            passed++;
          }
        }
      }
    }
    return passed;
  }

  private static Fd packetSocket(Calls calls, Arena arena, NetworkInterface to) {
    String what = "packets out of " + to;
    Fd fd =
        calls.own(
            calls.make(Call.SOCKET, what, AF_PACKET, SOCK_RAW | Sockets.SOCK_CLOEXEC, 0), what);
    try {
      MemorySegment on = Field.ints(arena, 1);
      calls.on(Call.SETSOCKOPT, fd, SOL_PACKET, PACKET_VNET_HDR, on.address(), on.byteSize());
      MemorySegment address = arena.allocate(SOCKADDR_BYTES, Long.BYTES);
      Field.setShort(address, 0, AF_PACKET);
      Field.setInt(address, INDEX, to.index());
      calls.on(Call.BIND, fd, address.address(), address.byteSize());
      return fd;
    } catch (Throwable t) {
      fd.close();
      throw t;
    }
  }
}
