/** Boxes of labelled descriptors. */
@NullMarked
package io.holdfast.core.box;

import org.jspecify.annotations.NullMarked;
