/** What is written of an update before it is done, for whoever takes it up after a death. */
@NullMarked
package io.holdfast.core.journal;

import org.jspecify.annotations.NullMarked;
