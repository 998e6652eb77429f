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
  private static final int IFF_TAP = 0x0002;
  private static final int IFF_MULTI_QUEUE = 0x0100;
  private static final int IFF_NO_PI = 0x1000;
  private static final int IFF_VNET_HDR = 0x4000;
  private static final int IFF_TUN_EXCL = 0x8000;

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
              Calls.string(arena, DEVICE).address(),
              OpenFlag.bits(OpenFlag.READ, OpenFlag.WRITE, OpenFlag.NONBLOCK) | Linux.O_CLOEXEC);
      Fd fd =
          calls.own(
              SystemCallException.check(number, Call.OPEN, DEVICE, Advice::onTap), "TAP " + name);
      try {
        MemorySegment request = NetworkInterface.request(arena, name);
        request.set(ValueLayout.JAVA_SHORT, NetworkInterface.VALUE, (short) flags);
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
}
