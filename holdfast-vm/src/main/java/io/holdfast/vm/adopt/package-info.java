/** Taking over a QEMU that Holdfast did not start: what it is, and how another one becomes it. */
@NullMarked
package io.holdfast.vm.adopt;

import org.jspecify.annotations.NullMarked;
