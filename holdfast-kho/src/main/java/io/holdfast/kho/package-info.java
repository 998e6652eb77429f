/** Kexec HandOver's formats: what one kernel leaves in memory for the next one. */
@NullMarked
package io.holdfast.kho;

import org.jspecify.annotations.NullMarked;
