package io.holdfast.store;

/**
 * A box of a service.
 *
 * @param name unique among services' boxes
 */
public record ServiceBox(String name) implements BoxId {
  static final String PREFIX = "@box/";

  @Override
  public String text() {
    return PREFIX + name;
  }

  @Override
  public ServiceBox named() {
    return this;
  }

  @Override
  public StoreKey.InServiceBox key(String label) {
    return new StoreKey.InServiceBox(this, label);
  }

  @Override
  public String toString() {
    return text();
  }
}
