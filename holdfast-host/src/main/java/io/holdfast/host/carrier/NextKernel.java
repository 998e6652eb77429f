package io.holdfast.host.carrier;

import java.nio.file.Path;
import java.util.Optional;

/**
 * The kernel to go to.
 *
 * @param image a bzImage
 * @param initrd its first file system, if it has one
 * @param commandLine the whole of it
 */
public record NextKernel(Path image, Optional<Path> initrd, String commandLine) {}
