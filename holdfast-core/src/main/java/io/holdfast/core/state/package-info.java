/** The two state machines, an update's and that of preserved memory, and what may happen when. */
@NullMarked
package io.holdfast.core.state;

import org.jspecify.annotations.NullMarked;
