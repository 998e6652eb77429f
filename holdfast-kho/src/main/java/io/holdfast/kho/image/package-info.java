/**
 * Kernel images: what is in one, what the running kernel's is, and whether the state of one would
 * be accepted by another.
 */
@NullMarked
package io.holdfast.kho.image;

import org.jspecify.annotations.NullMarked;
