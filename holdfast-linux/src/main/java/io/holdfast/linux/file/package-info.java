/** Files: written as a whole or not at all, and calls on storage that may hang. */
@NullMarked
package io.holdfast.linux.file;

import org.jspecify.annotations.NullMarked;
