/**
 * QEMU's command line as text: cut into options, and options with properties read and changed in
 * either of their two forms. Knows the syntax, not what an option means.
 */
@NullMarked
package io.holdfast.vm.option;

import org.jspecify.annotations.NullMarked;
