package io.holdfast.linux;

/**
 * Who is at a Unix socket's other end, as of when it connected or made the pair (SO_PEERCRED of
 * unix(7)).
 *
 * @param pid the process, 0 if it is of a process namespace that is invisible here
 * @param uid its effective user
 * @param gid its effective group
 */
public record PeerCredentials(int pid, int uid, int gid) {}
