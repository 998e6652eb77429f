/**
 * Immutable JSON values (RFC 8259), read and written on Jackson's streaming core.
 *
 * <p>A value is one of these Java types and nothing else: {@link java.lang.String}, {@link
 * java.lang.Boolean}, {@link java.lang.Long}, {@link java.math.BigInteger} (only for integers that
 * do not fit in a long, such as QEMU's largest unsigned ones), {@link java.lang.Double} (numbers
 * written with a fraction or an exponent), {@link io.holdfast.varlink.json.JsonObject}, {@link
 * io.holdfast.varlink.json.JsonArray} and {@link io.holdfast.varlink.json.JsonNull}.
 */
@NullMarked
package io.holdfast.varlink.json;

import org.jspecify.annotations.NullMarked;
