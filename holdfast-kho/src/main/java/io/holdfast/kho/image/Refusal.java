package io.holdfast.kho.image;

/**
 * Why a kernel would not take over another's state. All texts are for people, each a sentence or
 * several.
 *
 * @param what what is wrong, for programs
 * @param reason what is wrong and what would become of the state
 * @param advice what to do
 */
public record Refusal(What what, String reason, String advice) {

  /** What can be wrong. */
  public enum What {
    /** One of the kernels is not for x86-64. */
    ARCHITECTURE,
    /** kexec can't load the new one. */
    NOT_LOADABLE,
    /**
     * The old one has no Kexec HandOver or no Live Update Orchestrator: there is nothing to take
     * over.
     */
    NOTHING_TO_HAND_OVER,
    /** The new one has no Kexec HandOver. */
    NO_KHO,
    /** The new one does not read the old one's Kexec HandOver. */
    KHO_VERSION,
    /** The new one has no Live Update Orchestrator. */
    NO_LUO,
    /** The new one does not read the old one's Live Update Orchestrator. */
    LUO_VERSION,
    /**
     * The new one lacks a handler for files that the old one hands over, or has another version of
     * it.
     */
    HANDLER,
    /** The new command line leaves the Live Update Orchestrator off. */
    LUO_OFF,
    /** The new command line leaves Kexec HandOver off. */
    KHO_OFF,
    /** The new command line is longer than a kernel keeps. */
    COMMAND_LINE_TOO_LONG
  }
}
