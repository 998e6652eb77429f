package io.holdfast.core.state;

import java.util.Locale;

/** What the state of an update permits or refuses; see {@link UpdateMachine#permission}. */
public enum Operation {
  /** Put an entry into a box of the update. */
  PUT,
  /** Take an entry out of a box, and own it. */
  TAKE,
  /** Remove an entry from a box and close it. */
  REMOVE,
  /** Map preserved memory. */
  MAP,
  /** Resize preserved memory. */
  RESIZE,
  /** Let the guest run: on the predecessor before COMMITTED, on the successor after it. */
  RUN_GUEST,
  /** Let devices start transfers from and to memory. */
  DMA,
  /** Add something to the preserved set, other than device state. */
  PRESERVE,
  /** Drop something from the preserved set. */
  UNPRESERVE,
  /** Add or renew the device state in the preserved set. */
  PRESERVE_DEVICE_STATE;

  /** The name in prose: {@code run guest}. */
  public String words() {
    return name().toLowerCase(Locale.ROOT).replace('_', ' ');
  }
}
