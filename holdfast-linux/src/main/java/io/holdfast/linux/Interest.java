package io.holdfast.linux;

/**
 * What is waited for on a descriptor, and, of what {@link Linux#pollFor(java.util.Collection,
 * java.time.Duration)} found, what can be done on it without waiting. One that broke can do both:
 * the call that tries gets the error.
 *
 * @param fd borrowed
 * @param read whether it is to be read
 * @param write whether it is to be written
 */
public record Interest(Fd fd, boolean read, boolean write) {}
