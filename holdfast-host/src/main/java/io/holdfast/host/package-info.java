/** TODO. */
@NullMarked
package io.holdfast.host;

import org.jspecify.annotations.NullMarked;
