/**
 * The {@code holdfast} command: it asks the agent over Varlink and prints the answer, for people
 * or, with {@code --json}, for programs. It does nothing to a host by itself.
 */
@NullMarked
package io.holdfast.cli;

import org.jspecify.annotations.NullMarked;
