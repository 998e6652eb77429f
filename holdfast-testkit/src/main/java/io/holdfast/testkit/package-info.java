/** What tests of several modules share. */
@NullMarked
package io.holdfast.testkit;

import org.jspecify.annotations.NullMarked;
