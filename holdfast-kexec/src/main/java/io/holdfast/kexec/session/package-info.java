/** Sessions of LUO: who has them open, and who keeps them over the agent's death. */
@NullMarked
package io.holdfast.kexec.session;

import org.jspecify.annotations.NullMarked;
