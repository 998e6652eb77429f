package io.holdfast.store;

/** Whose descriptors a box has: a VM's, or those that a service put in. */
public sealed interface BoxId permits VmId, ServiceBox {
  /** Reads what {@link #text} returned. */
  static BoxId of(String text) {
    return text.startsWith(ServiceBox.PREFIX)
        ? new ServiceBox(text.substring(ServiceBox.PREFIX.length()))
        : VmId.of(text);
  }

  /** Returns its name as people know it. */
  String name();

  /** Returns it as text, which names the box in a manifest and begins the keys of its entries. */
  String text();

  /**
   * Returns it without what tells a VM from others that had its name: the box that is meant by who
   * knows only the name.
   */
  BoxId named();

  /**
   * Returns the key of one of its descriptors.
   *
   * @param label its label in the box
   */
  StoreKey key(String label);
}
