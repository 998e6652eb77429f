/** Network cards: TAP devices, and ports of the host. */
@NullMarked
package io.holdfast.vm.device.network;

import org.jspecify.annotations.NullMarked;
