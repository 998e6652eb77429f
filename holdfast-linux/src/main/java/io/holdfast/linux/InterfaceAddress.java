package io.holdfast.linux;

import java.net.InetAddress;

/**
 * An IP address of a network interface.
 *
 * @param address of either version
 * @param prefix how many of its leading bits are the network's
 */
public record InterfaceAddress(InetAddress address, int prefix) {
  /**
   * Reads what {@link #toString} writes; asks nobody.
   *
   * @throws IllegalArgumentException if it is something else
   */
  public static InterfaceAddress of(String text) {
    int slash = text.indexOf('/');
    if (slash < 0) {
      throw new IllegalArgumentException("no ADDRESS/PREFIX: " + text);
    }
    InetAddress address = InetAddress.ofLiteral(text.substring(0, slash));
    int prefix = Integer.parseInt(text.substring(slash + 1));
    if (prefix < 0 || prefix > 8 * address.getAddress().length) {
      throw new IllegalArgumentException("no prefix of such an address: " + text);
    }
    return new InterfaceAddress(address, prefix);
  }

  /** As {@code 192.0.2.1/24}, {@code 2001:db8:0:0:0:0:0:1/64}. */
  @Override
  public String toString() {
    return address.getHostAddress() + "/" + prefix;
  }
}
