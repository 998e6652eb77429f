package io.holdfast.fdt;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * A property of a node: a name and bytes, which the format says nothing about. Who asks for them as
 * something else is refused where they are not. Immutable.
 */
public final class FdtProperty {
  private final String name;
  private final byte[] value;

  /** Takes the array over. */
  FdtProperty(String name, byte[] value) {
    if (name.isEmpty() || !name.chars().allMatch(each -> each > ' ' && each < 0x7f)) {
      throw new FdtException("\"" + name + "\" is no property's name");
    }
    this.name = name;
    this.value = value;
  }

  /** Its name. */
  public String name() {
    return name;
  }

  /** How many bytes its value has. */
  public int size() {
    return value.length;
  }

  /** A copy of its value. */
  public byte[] bytes() {
    return value.clone();
  }

  /**
   * Its value as one cell of 32 bits.
   *
   * @throws FdtException if it has not four bytes
   */
  public int u32() {
    return sized(4).getInt();
  }

  /**
   * Its value as 64 bits.
   *
   * @throws FdtException if it has not eight bytes
   */
  public long u64() {
    return sized(8).getLong();
  }

  private ByteBuffer sized(int bytes) {
    if (value.length != bytes) {
      throw new FdtException(
          "property %s has %d bytes, not %d".formatted(name, value.length, bytes));
    }
    return ByteBuffer.wrap(value);
  }

  /**
   * Its value as one string of UTF-8.
   *
   * @throws FdtException if it is not one, with a NUL at its end
   */
  public String string() {
    List<String> all = strings();
    if (all.size() != 1) {
      throw new FdtException("property " + name + " has " + all.size() + " strings, not one");
    }
    return all.getFirst();
  }

  /**
   * Its value as a list of strings of UTF-8.
   *
   * @throws FdtException if it is empty, or does not end with a NUL, or is no UTF-8
   */
  public List<String> strings() {
    if (value.length == 0 || value[value.length - 1] != 0) {
      throw new FdtException("property " + name + " is no string: it does not end with a NUL");
    }
    List<String> all = new ArrayList<>();
    int from = 0;
    for (int at = 0; at < value.length; at++) {
      if (value[at] == 0) {
        try {
          ByteBuffer part = ByteBuffer.wrap(value, from, at - from);
          all.add(StandardCharsets.UTF_8.newDecoder().decode(part).toString());
        } catch (CharacterCodingException e) {
          throw new FdtException("property " + name + " is no string: it is no UTF-8");
        }
        from = at + 1;
      }
    }
    return all;
  }

  /** Whether it has the same name and the same bytes. */
  @Override
  public boolean equals(Object other) {
    return other instanceof FdtProperty that
        && name.equals(that.name)
        && Arrays.equals(value, that.value);
  }

  @Override
  public int hashCode() {
    return 31 * name.hashCode() + Arrays.hashCode(value);
  }

  @Override
  public String toString() {
    return "property " + name + ", " + value.length + " bytes";
  }
}
