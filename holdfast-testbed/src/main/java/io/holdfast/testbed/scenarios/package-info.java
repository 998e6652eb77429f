/**
 * The scenarios: what is shown on a real kernel, a class each. {@code docs/testbed.md} says how to
 * write one.
 */
@NullMarked
package io.holdfast.testbed.scenarios;

import org.jspecify.annotations.NullMarked;
