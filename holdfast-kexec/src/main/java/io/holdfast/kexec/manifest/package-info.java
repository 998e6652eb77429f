/**
 * The manifest, which tells the next kernel's agent what came, and what it says of clocks, bridges
 * and memory.
 */
@NullMarked
package io.holdfast.kexec.manifest;

import org.jspecify.annotations.NullMarked;
