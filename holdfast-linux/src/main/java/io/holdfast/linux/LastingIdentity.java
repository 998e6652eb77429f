package io.holdfast.linux;

/**
 * Identifies a file for good, on another kernel too: device numbers are only this boot's.
 *
 * @param fileSystem its UUID (FS_IOC_GETFSUUID of {@code include/uapi/linux/fs.h}), as hexadecimal
 *     digits
 * @param handle the file's handle in it (name_to_handle_at(2)): type and bytes, as hexadecimal
 *     digits
 */
public record LastingIdentity(String fileSystem, String handle) {}
