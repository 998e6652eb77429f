/** What came from the previous kernel: found, unpacked, finished. */
@NullMarked
package io.holdfast.kexec.arrive;

import org.jspecify.annotations.NullMarked;
