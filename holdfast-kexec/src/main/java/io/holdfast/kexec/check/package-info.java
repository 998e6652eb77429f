/** What is checked of the next kernel and of the host before an update of the kernel. */
@NullMarked
package io.holdfast.kexec.check;

import org.jspecify.annotations.NullMarked;
