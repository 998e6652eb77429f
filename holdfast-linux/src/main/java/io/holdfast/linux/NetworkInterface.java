package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * A network interface of the caller's network namespace, by its name (netdevice(7)); it need not
 * exist. Changing one needs CAP_NET_ADMIN.
 *
 * <p>Every method that can't find it throws {@link SystemCallException} with ENODEV, unless it says
 * otherwise.
 */
public final class NetworkInterface {
  /** What a name has at most, in bytes. */
  public static final int NAME_BYTES = 15;

  /** What an Ethernet address has, in bytes. */
  public static final int ADDRESS_BYTES = 6;

  private static final int AF_INET = 2;
  private static final int SOCK_DGRAM = 2;
  private static final int ARPHRD_ETHER = 1;
  private static final short IFF_UP = 1;

  // linux/sockios.h
  private static final int SIOCGIFFLAGS = 0x8913;
  private static final int SIOCSIFFLAGS = 0x8914;
  private static final int SIOCGIFMTU = 0x8921;
  private static final int SIOCSIFMTU = 0x8922;
  private static final int SIOCSIFHWADDR = 0x8924;
  private static final int SIOCGIFHWADDR = 0x8927;
  private static final int SIOCGIFINDEX = 0x8933;
  private static final int SIOCETHTOOL = 0x8946;
  private static final int SIOCBRADDBR = 0x89a0;
  private static final int SIOCBRADDIF = 0x89a2;
  private static final int SIOCBRDELIF = 0x89a3;

  // struct ifreq: char name[16], then a union of 24 bytes.
  static final int IFREQ_BYTES = 40;
  static final int VALUE = 16;
  private static final int SA_DATA = VALUE + 2;

  // struct ethtool_drvinfo: u32 command, char driver[32], and more.
  private static final int ETHTOOL_GDRVINFO = 3;
  private static final int DRVINFO_BYTES = 196;
  private static final int DRIVER = 4;

  private final Calls calls;
  private final String name;

  NetworkInterface(Calls calls, String name) {
    this.calls = calls;
    this.name = checked(name);
  }

  static String checked(String name) {
    int length = name.getBytes(StandardCharsets.UTF_8).length;
    if (length == 0 || length > NAME_BYTES || name.indexOf('\0') >= 0) {
      throw new IllegalArgumentException(
          "a network interface's name has 1 to %d bytes; this one has %d: '%s'"
              .formatted(NAME_BYTES, length, name.replace('\0', '?')));
    }
    return name;
  }

  /** A {@code struct ifreq} of this name, its value all zeros. */
  static MemorySegment request(Arena arena, String name) {
    MemorySegment request = arena.allocate(IFREQ_BYTES, Long.BYTES);
    request.copyFrom(Field.string(arena, name));
    return request;
  }

  /** Its name. */
  public String name() {
    return name;
  }

  /** Whether there is one of this name now. */
  public boolean exists() {
    try (Arena arena = Arena.ofConfined()) {
      long result = attempt(SIOCGIFINDEX, request(arena, name));
      if (result == -Errno.ENODEV.number()) {
        return false;
      }
      check(result, "index of " + this);
      return true;
    }
  }

  /** The longest packet that it takes, in bytes without the Ethernet header. */
  public int mtu() {
    return Field.getInt(get(SIOCGIFMTU, "MTU of "), VALUE);
  }

  /**
   * Sets {@link #mtu}.
   *
   * @throws SystemCallException EINVAL if it can't be that long or short
   */
  public void setMtu(int bytes) {
    set(SIOCSIFMTU, "MTU " + bytes + " of ", request -> Field.setInt(request, VALUE, bytes));
  }

  /**
   * Sets its Ethernet address.
   *
   * @param address of {@link #ADDRESS_BYTES} bytes
   * @throws SystemCallException EADDRNOTAVAIL if it is a group's; EBUSY while it is up, for some
   *     kinds
   */
  public void setAddress(byte[] address) {
    if (address.length != ADDRESS_BYTES) {
      throw new IllegalArgumentException("an Ethernet address of " + address.length + " bytes");
    }
    set(
        SIOCSIFHWADDR,
        "address of ",
        request -> {
          Field.setShort(request, VALUE, ARPHRD_ETHER);
          MemorySegment.copy(address, 0, request, ValueLayout.JAVA_BYTE, SA_DATA, ADDRESS_BYTES);
        });
  }

  /** Its Ethernet address, of {@link #ADDRESS_BYTES} bytes. */
  public byte[] address() {
    return get(SIOCGIFHWADDR, "address of ")
        .asSlice(SA_DATA, ADDRESS_BYTES)
        .toArray(ValueLayout.JAVA_BYTE);
  }

  /** The IP addresses that it has for good: none that a lease, or the network, gave it. */
  public List<InterfaceAddress> ipAddresses() {
    return RouteSocket.addresses(calls, index(), "addresses of " + this);
  }

  /**
   * Gives it an IP address, for good.
   *
   * @return false if it has that one already
   * @throws SystemCallException EPERM; EOPNOTSUPP, EAFNOSUPPORT if the kernel has no IPv6, or that
   *     is off on this interface
   */
  public boolean addIpAddress(InterfaceAddress address) {
    return RouteSocket.add(calls, index(), address, address + " for " + this);
  }

  /**
   * Makes a bridge of this name, which is down, without ports, and has an address by chance.
   *
   * @return false if there is a network interface of this name, of whatever kind
   * @throws SystemCallException EPERM; ENOPKG, EINVAL, ENOTTY if the kernel has no bridges, or they
   *     are not loaded
   */
  public boolean makeBridge() {
    try (Arena arena = Arena.ofConfined()) {
      long result = attempt(SIOCBRADDBR, request(arena, name));
      if (result == -Errno.EEXIST.number()) {
        return false;
      }
      check(result, "making of bridge " + name);
      return true;
    }
  }

  /** Whether it is in operation. */
  public boolean isUp() {
    return (flags() & IFF_UP) != 0;
  }

  private short flags() {
    return Field.getShort(get(SIOCGIFFLAGS, "flags of "), VALUE);
  }

  /** Takes it into operation; does nothing to one that is up. */
  public void up() {
    short flags = flags();
    set(SIOCSIFFLAGS, "up ", request -> Field.setShort(request, VALUE, flags | IFF_UP));
  }

  /**
   * Whether it is a bridge of the kernel's, so that others can be its ports; Open vSwitch's are
   * not.
   */
  public boolean isBridge() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment info = arena.allocate(DRVINFO_BYTES, Long.BYTES);
      Field.setInt(info, 0, ETHTOOL_GDRVINFO);
      MemorySegment request = request(arena, name);
      Field.setLong(request, VALUE, info.address());
      long result = attempt(SIOCETHTOOL, request);
      if (result == -Errno.EOPNOTSUPP.number()) {
        return false; // one whose driver tells nothing
      }
      check(result, "driver of " + this);
      return info.getString(DRIVER).equals("bridge");
    }
  }

  /**
   * Makes it a port of a bridge.
   *
   * @return false if it is a port already, of this bridge or of another
   * @throws SystemCallException ENODEV if one of both is missing; EOPNOTSUPP if {@code bridge} is
   *     none; EPERM
   */
  public boolean join(NetworkInterface bridge) {
    return port(bridge, SIOCBRADDIF, "port " + this + " into ", Errno.EBUSY);
  }

  /**
   * Makes it a port of the bridge no more. What waits in its queue stays there.
   *
   * @return false if it is no port of this bridge
   * @throws SystemCallException ENODEV if one of both is missing; EOPNOTSUPP if {@code bridge} is
   *     none; EPERM
   */
  public boolean leave(NetworkInterface bridge) {
    return port(bridge, SIOCBRDELIF, "port " + this + " out of ", Errno.EINVAL);
  }

  /** Its number, which is no other's on this kernel while it is there. */
  int index() {
    return Field.getInt(get(SIOCGIFINDEX, "index of "), VALUE);
  }

  private boolean port(NetworkInterface bridge, int request, String what, Errno already) {
    int index = index();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment arguments = request(arena, bridge.name);
      Field.setInt(arguments, VALUE, index);
      long result = bridge.attempt(request, arguments);
      if (result == -already.number()) {
        return false;
      }
      check(result, what + bridge);
      return true;
    }
  }

  private interface Filling {
    void fill(MemorySegment request);
  }

  private void set(int command, String what, Filling filling) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment request = request(arena, name);
      filling.fill(request);
      check(attempt(command, request), what + this);
    }
  }

  /** What the kernel answers, on the heap. */
  private MemorySegment get(int command, String what) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment request = request(arena, name);
      check(attempt(command, request), what + this);
      return MemorySegment.ofArray(new byte[IFREQ_BYTES]).copyFrom(request);
    }
  }

  private static void check(long result, String object) {
    SystemCallException.check(result, Call.IOCTL, object, Advice::onInterface);
  }

  /** Any socket will do: it only says which network namespace is meant. */
  private long attempt(int command, MemorySegment request) {
    try (Fd socket =
        calls.own(
            calls.make(
                Call.SOCKET,
                "for network interface " + name,
                AF_INET,
                SOCK_DGRAM | Sockets.SOCK_CLOEXEC,
                0),
            "socket for network interface " + name)) {
      return calls.attemptOn(Call.IOCTL, socket, command, request.address());
    }
  }

  @Override
  public String toString() {
    return "network interface " + name;
  }
}
