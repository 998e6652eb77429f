package io.holdfast.core.participant;

/**
 * Something that forbids an update, found before anything changed.
 *
 * @param what is in the way: {@code disk vda}
 * @param why it is in the way
 * @param advice what to do about it
 */
public record Obstacle(String what, String why, String advice) {}
