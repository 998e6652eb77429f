/** Files of the run directory. */
@NullMarked
package io.holdfast.host.file;

import org.jspecify.annotations.NullMarked;
