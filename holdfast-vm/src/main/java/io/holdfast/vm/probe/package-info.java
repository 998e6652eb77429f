/** What is known of QEMU binaries before one is used: asked, tried, remembered. */
@NullMarked
package io.holdfast.vm.probe;

import org.jspecify.annotations.NullMarked;
