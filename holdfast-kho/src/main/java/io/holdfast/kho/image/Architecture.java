package io.holdfast.kho.image;

/** The machines that a kernel may be for. */
public enum Architecture {
  X86_64("x86-64"),
  X86_32("32-bit x86"),
  ARM64("arm64"),
  RISCV("riscv"),
  OTHER("another architecture than Holdfast knows");

  private final String words;

  Architecture(String words) {
    this.words = words;
  }

  /** Its name, for people. */
  public String words() {
    return words;
  }

  /** By the number that ELF files carry (elf.h, EM_*). */
  static Architecture ofElf(int machine) {
    return switch (machine) {
      case 62 -> X86_64;
      case 3 -> X86_32;
      case 183 -> ARM64;
      case 243 -> RISCV;
      default -> OTHER;
    };
  }
}
