/**
 * What devices have on the host: back ends, which follow the guest from one generation to the next.
 */
@NullMarked
package io.holdfast.vm.device;

import org.jspecify.annotations.NullMarked;
