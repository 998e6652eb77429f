package io.holdfast.linux;

/**
 * What tells whether two descriptors are of the same file or memfd.
 *
 * @param device the file system's device number
 * @param inode the file's number in it
 */
public record FileIdentity(long device, long inode) {}
