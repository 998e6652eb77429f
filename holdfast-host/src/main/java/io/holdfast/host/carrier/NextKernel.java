package io.holdfast.host.carrier;

import java.nio.file.Path;
import java.util.Optional;

/**
 * The kernel to go to.
 *
 * @param image a bzImage
 * @param initrd its first file system, if it has one
 * @param commandLine the whole of it
 * @param running the image of the kernel that runs now, if it has to be told
 */
public record NextKernel(
    Path image, Optional<Path> initrd, String commandLine, Optional<Path> running) {}
