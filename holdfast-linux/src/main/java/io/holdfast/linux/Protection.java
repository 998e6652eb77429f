package io.holdfast.linux;

/** What a mapping is for. */
public enum Protection {
  /** Its contents can be read. */
  READ(1),
  /** Its contents can be changed. */
  WRITE(2);

  final int flag;

  Protection(int flag) {
    this.flag = flag;
  }
}
