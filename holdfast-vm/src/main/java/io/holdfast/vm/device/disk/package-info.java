/** Images: which files they are, who has locked them, where they are stored. */
@NullMarked
package io.holdfast.vm.device.disk;

import org.jspecify.annotations.NullMarked;
