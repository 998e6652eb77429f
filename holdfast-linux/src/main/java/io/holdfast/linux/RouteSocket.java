package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.List;

/** IP addresses of network interfaces: rtnetlink(7), netlink(7). */
final class RouteSocket {
  private static final int AF_NETLINK = 16;
  private static final int SOCK_RAW = 3;
  private static final int NETLINK_ROUTE = 0;

  // struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port.
  private static final int HEADER_BYTES = 16;
  private static final int TYPE = 4;
  private static final int FLAGS = 6;
  private static final int NLMSG_ERROR = 2;
  private static final int NLMSG_DONE = 3;
  private static final int RTM_NEWADDR = 20;
  private static final int RTM_GETADDR = 22;
  private static final int NLM_F_REQUEST = 0x1;
  private static final int NLM_F_ACK = 0x4;
  private static final int NLM_F_DUMP = 0x300;
  private static final int NLM_F_EXCL = 0x200;
  private static final int NLM_F_CREATE = 0x400;

  // struct ifaddrmsg, behind it: u8 family, u8 prefix, u8 flags, u8 scope, u32 index.
  private static final int FAMILY = HEADER_BYTES;
  private static final int PREFIX = HEADER_BYTES + 1;
  private static final int ADDRESS_FLAGS = HEADER_BYTES + 2;
  private static final int INDEX = HEADER_BYTES + 4;
  private static final int ATTRIBUTES = HEADER_BYTES + 8;
  private static final int IFA_F_PERMANENT = 0x80;
  private static final byte AF_INET = 2;
  private static final byte AF_INET6 = 10;
  private static final int IPV4_BYTES = 4;

  // struct rtattr: u16 length, u16 type, then the value; the next one at a multiple of four.
  private static final int ATTRIBUTE_BYTES = 4;
  private static final int IFA_ADDRESS = 1;
  private static final int IFA_LOCAL = 2;

  private static final int BUFFER_BYTES = 64 << 10;

  private RouteSocket() {}

  /** The permanent addresses of an interface. */
  static List<InterfaceAddress> addresses(Calls calls, int index, String what) {
    List<InterfaceAddress> addresses = new ArrayList<>();
    try (Arena arena = Arena.ofConfined();
        Fd socket = socket(calls, what)) {
      MemorySegment buffer = arena.allocate(BUFFER_BYTES, Long.BYTES);
      header(buffer, ATTRIBUTES, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP);
      long _ = calls.on(Call.WRITE, socket, buffer.address(), ATTRIBUTES);
      while (true) {
        long bytes = calls.on(Call.READ, socket, buffer.address(), BUFFER_BYTES);
        for (long at = 0; at + HEADER_BYTES <= bytes; ) {
          long length = Field.getInt(buffer, at);
          if (length < HEADER_BYTES || at + length > bytes) {
            throw new IllegalStateException("the kernel's list of " + what + " makes no sense");
          }
          MemorySegment message = buffer.asSlice(at, length);
          switch (Field.getShort(message, TYPE)) {
            case NLMSG_DONE -> {
              return addresses;
            }
            case NLMSG_ERROR -> throw failed(message, what);
            case RTM_NEWADDR -> {
              if (Field.getInt(message, INDEX) == index
                  && (Field.getByte(message, ADDRESS_FLAGS) & IFA_F_PERMANENT) != 0) {
                addresses.add(address(message));
              }
            }
            default -> {
              // Nothing that was asked for.
            }
          }
          at += aligned(length);
        }
      }
    }
  }

  /** Adds one; false if it is there already. */
  static boolean add(Calls calls, int index, InterfaceAddress address, String what) {
    byte[] value = address.address().getAddress();
    try (Arena arena = Arena.ofConfined();
        Fd socket = socket(calls, what)) {
      MemorySegment buffer = arena.allocate(BUFFER_BYTES, Long.BYTES);
      int length = ATTRIBUTES + 2 * (ATTRIBUTE_BYTES + value.length);
      header(buffer, length, RTM_NEWADDR, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
      Field.setByte(buffer, FAMILY, value.length == IPV4_BYTES ? AF_INET : AF_INET6);
      Field.setByte(buffer, PREFIX, address.prefix());
      Field.setInt(buffer, INDEX, index);
      int at = ATTRIBUTES;
      for (int type : new int[] {IFA_LOCAL, IFA_ADDRESS}) {
        Field.setShort(buffer, at, ATTRIBUTE_BYTES + value.length);
        Field.setShort(buffer, at + 2, type);
        MemorySegment.copy(
            value, 0, buffer, ValueLayout.JAVA_BYTE, at + ATTRIBUTE_BYTES, value.length);
        at += ATTRIBUTE_BYTES + value.length;
      }
      long _ = calls.on(Call.WRITE, socket, buffer.address(), length);
      long _ = calls.on(Call.READ, socket, buffer.address(), BUFFER_BYTES);
      long result = Field.getInt(buffer, HEADER_BYTES);
      if (result == -Errno.EEXIST.number()) {
        return false;
      }
      if (result != 0) {
        throw failed(buffer, what);
      }
      return true;
    }
  }

  private static SystemCallException failed(MemorySegment message, String what) {
    // struct nlmsgerr begins with the error.
    return SystemCallException.failed(Call.WRITE, Field.getInt(message, HEADER_BYTES), what);
  }

  private static InterfaceAddress address(MemorySegment message) {
    int bytes = Field.getByte(message, FAMILY) == AF_INET ? IPV4_BYTES : 16;
    byte[] found = new byte[bytes];
    for (long at = ATTRIBUTES; at + ATTRIBUTE_BYTES <= message.byteSize(); ) {
      int length = Short.toUnsignedInt(Field.getShort(message, at));
      int type = Field.getShort(message, at + 2);
      // On a line between two points IFA_ADDRESS is the other end's; IPv6 has no IFA_LOCAL
      // otherwise.
      if (length == ATTRIBUTE_BYTES + bytes && (type == IFA_LOCAL || type == IFA_ADDRESS)) {
        MemorySegment.copy(message, ValueLayout.JAVA_BYTE, at + ATTRIBUTE_BYTES, found, 0, bytes);
        if (type == IFA_LOCAL) {
          break;
        }
      }
      at += aligned(Math.max(length, ATTRIBUTE_BYTES));
    }
    // IFA_LOCAL comes after IFA_ADDRESS.
    try {
      return new InterfaceAddress(
          InetAddress.getByAddress(found), Field.getByte(message, PREFIX) & 0xff);
    } catch (UnknownHostException e) {
      throw new IllegalStateException("4 or 16 bytes are an address", e);
    }
  }

  private static long aligned(long length) {
    return length + 3 & ~3L;
  }

  private static void header(MemorySegment buffer, int length, int type, int flags) {
    Field.setInt(buffer, 0, length);
    Field.setShort(buffer, TYPE, type);
    Field.setShort(buffer, FLAGS, flags);
  }

  private static Fd socket(Calls calls, String what) {
    return calls.own(
        calls.make(Call.SOCKET, what, AF_NETLINK, SOCK_RAW | Sockets.SOCK_CLOEXEC, NETLINK_ROUTE),
        what);
  }
}
