/**
 * Varlink (varlink.org): interface definitions, a server and a client over Unix sockets, with
 * descriptors passed along as systemd's sd-varlink does.
 */
@NullMarked
package io.holdfast.varlink;

import org.jspecify.annotations.NullMarked;
