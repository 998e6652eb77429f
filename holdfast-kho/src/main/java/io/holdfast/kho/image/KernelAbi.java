package io.holdfast.kho.image;

import java.util.Collections;
import java.util.SortedSet;
import java.util.TreeSet;

/**
 * The versions of the handover formats that a kernel's code speaks, by the strings that it compares
 * with: {@code include/linux/kho/abi} of its source.
 *
 * @param kho those of the state tree's root, such as {@code kho-v4}; empty for a kernel without KHO
 * @param luo those of the Live Update Orchestrator, such as {@code luo-v5}, and, in kernels where
 *     they have versions of their own, of its sessions; empty for a kernel without
 * @param handlers the kinds of files and of what is bound to files that it can take over, such as
 *     {@code memfd-v2}; what is in a module is not in a kernel's image, and not here
 */
public record KernelAbi(SortedSet<String> kho, SortedSet<String> luo, SortedSet<String> handlers) {
  public KernelAbi {
    kho = copy(kho);
    luo = copy(luo);
    handlers = copy(handlers);
  }

  private static SortedSet<String> copy(SortedSet<String> from) {
    return Collections.unmodifiableSortedSet(new TreeSet<>(from));
  }
}
