package io.holdfast.benchmarks;

/**
 * Whether one thing holds that must hold.
 *
 * @param what must hold
 * @param holds whether it does
 * @param why the figures behind it, or what is wrong
 */
public record Verdict(String what, boolean holds, String why) {}
