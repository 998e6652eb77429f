/** The Linux system interface. */
@NullMarked
package io.holdfast.linux;

import org.jspecify.annotations.NullMarked;
