/** TODO. */
@NullMarked
package io.holdfast.core;

import org.jspecify.annotations.NullMarked;
