package io.holdfast.fdt;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A node of a device tree, which can be changed. Properties and children keep the order in which
 * they were added. Not for several threads at once.
 */
public final class FdtNode {
  private final String name;
  private final Map<String, FdtProperty> properties = new LinkedHashMap<>();
  private final Map<String, FdtNode> children = new LinkedHashMap<>();

  FdtNode(String name) {
    this.name = name;
  }

  /** Its name, unit address included; the root's is empty. */
  public String name() {
    return name;
  }

  /** Its properties; the collection follows changes. */
  public Collection<FdtProperty> properties() {
    return Collections.unmodifiableCollection(properties.values());
  }

  /** Its children; the collection follows changes. */
  public Collection<FdtNode> children() {
    return Collections.unmodifiableCollection(children.values());
  }

  /** A property, if it is there. */
  public Optional<FdtProperty> property(String name) {
    return Optional.ofNullable(properties.get(name));
  }

  /** A child, if it is there. */
  public Optional<FdtNode> child(String name) {
    return Optional.ofNullable(children.get(name));
  }

  /**
   * Adds a child.
   *
   * @return the child
   * @throws FdtException if there is one of that name, or it is no name
   */
  public FdtNode add(String name) {
    if (name.isEmpty()
        || !name.chars().allMatch(each -> each > ' ' && each < 0x7f && each != '/')) {
      throw new FdtException("\"" + name + "\" is no node's name");
    }
    FdtNode child = new FdtNode(name);
    if (children.putIfAbsent(name, child) != null) {
      throw new FdtException("node \"" + this.name + "\" has a child " + name + " already");
    }
    return child;
  }

  /** Removes a child with all that is in it; whether it was there. */
  public boolean removeChild(String name) {
    return children.remove(name) != null;
  }

  /** Removes a property; whether it was there. */
  public boolean removeProperty(String name) {
    return properties.remove(name) != null;
  }

  /**
   * Sets a property to bytes, which are copied.
   *
   * @return this node
   * @throws FdtException if it is no property's name
   */
  public FdtNode set(String name, byte[] value) {
    var _ = properties.put(name, new FdtProperty(name, value.clone()));
    return this;
  }

  /** Sets a property to a string. As {@link #set(String, byte[])}. */
  public FdtNode set(String name, String value) {
    if (value.indexOf(0) >= 0) {
      throw new FdtException("property " + name + ": a string has a NUL in it");
    }
    return set(name, (value + "\0").getBytes(StandardCharsets.UTF_8));
  }

  /** Sets a property to a cell of 32 bits. As {@link #set(String, byte[])}. */
  public FdtNode set(String name, int value) {
    return set(name, ByteBuffer.allocate(4).putInt(value).array());
  }

  /** Sets a property to 64 bits, two cells. As {@link #set(String, byte[])}. */
  public FdtNode set(String name, long value) {
    return set(name, ByteBuffer.allocate(8).putLong(value).array());
  }

  /** Whether it has the same name, and the same properties and children in the same order. */
  @Override
  public boolean equals(Object other) {
    return other instanceof FdtNode that
        && name.equals(that.name)
        && List.copyOf(properties()).equals(List.copyOf(that.properties()))
        && List.copyOf(children()).equals(List.copyOf(that.children()));
  }

  @Override
  public int hashCode() {
    return name.hashCode() + 31 * properties.keySet().hashCode();
  }

  @Override
  public String toString() {
    return "node \"%s\", %d properties, %d children"
        .formatted(name, properties.size(), children.size());
  }
}
