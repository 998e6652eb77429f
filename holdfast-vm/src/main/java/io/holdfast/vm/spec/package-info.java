/**
 * What a guest was told at its start and every generation keeps: machine, devices, command line.
 */
@NullMarked
package io.holdfast.vm.spec;

import org.jspecify.annotations.NullMarked;
