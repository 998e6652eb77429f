/** What waits after a kexec where no agent runs: read, and shown with what to do. */
@NullMarked
package io.holdfast.agent.rescue;

import org.jspecify.annotations.NullMarked;
