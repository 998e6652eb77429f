package io.holdfast.cli;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Readiness;
import io.holdfast.linux.SystemCallException;
import java.io.PrintStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/**
 * Carries bytes between a guest and whoever sits at the terminal, until one of them ends it. When
 * the agent goes, what is typed still reaches the guest, and what the guest says is asked for again
 * from where it broke off.
 */
final class Conversation implements AutoCloseable {
  private static final byte ESCAPE = 0x1d;
  private static final int CHUNK = 64 * 1024;

  /** What a pipe takes whole or not at all. */
  private static final int ATOMIC = 4096;

  private static final Duration RETRY = Duration.ofMillis(200);
  private static final Duration FOREVER = Duration.ofDays(36_500);

  private final Linux linux;
  private final Optional<Fd> keys;
  private final Fd screen;
  private final boolean terminal;
  private final PrintStream messages;
  private final Attaching attaching;
  private Optional<Fd> output = Optional.empty();
  private Optional<Fd> input = Optional.empty();
  private long at;
  private boolean ended;
  private boolean typing;
  private boolean waiting;

  /** What was typed and has found no room yet. */
  private byte[] pending = {};

  /**
   * Both ways to a guest.
   *
   * @param output what the guest says, from offset {@code from} on; owned by who holds this
   * @param input for what is typed, nonblocking; likewise
   */
  record Attached(Fd output, Fd input, long from) {}

  /** How to get to the guest. */
  interface Attaching {
    /**
     * Attaches.
     *
     * @param from the offset to go on from; empty the first time
     * @return empty if the guest's end is gone for good
     * @throws Failure if it can't be reached
     */
    Optional<Attached> attach(OptionalLong from);
  }

  /**
   * Attaches for the first time.
   *
   * @param keys where to read what is typed, if anything is; borrowed
   * @param screen where to write what the guest says; borrowed
   * @param terminal whether it is a raw terminal: it has an escape key, and lines need a carriage
   *     return
   */
  Conversation(
      Linux linux,
      Optional<Fd> keys,
      Fd screen,
      boolean terminal,
      PrintStream messages,
      Attaching attaching) {
    this.linux = linux;
    this.keys = keys;
    this.screen = screen;
    this.terminal = terminal;
    this.messages = messages;
    this.attaching = attaching;
    this.typing = keys.isPresent();
    attaching.attach(OptionalLong.empty()).ifPresent(this::take);
  }

  private void take(Attached attached) {
    close();
    output = Optional.of(attached.output());
    input = Optional.of(attached.input());
    at = attached.from();
  }

  /** Returns when either side has ended it. */
  void run() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment buffer = arena.allocate(CHUNK);
      while (!ended) {
        if (output.isEmpty()) {
          attachAgain();
          if (ended) {
            return;
          }
        }
        Map<Fd, Set<Readiness>> ready = linux.poll(wanted(), output.isPresent() ? FOREVER : RETRY);
        if (ready.containsKey(screen)) {
          return; // who reads this has gone
        }
        output.filter(ready::containsKey).ifPresent(fd -> show(fd, buffer));
        keys.filter(ready::containsKey).ifPresent(fd -> hear(fd, buffer));
        input.filter(ready::containsKey).ifPresent(this::send);
      }
    }
  }

  private Map<Fd, Set<Readiness>> wanted() {
    Map<Fd, Set<Readiness>> wanted = new HashMap<>();
    wanted.put(screen, Set.of());
    output.ifPresent(fd -> wanted.put(fd, Set.of(Readiness.READABLE)));
    if (typing && (terminal || pending.length == 0)) {
      keys.ifPresent(fd -> wanted.put(fd, Set.of(Readiness.READABLE)));
    }
    if (pending.length > 0) {
      input.ifPresent(fd -> wanted.put(fd, Set.of(Readiness.WRITABLE)));
    }
    return wanted;
  }

  private void show(Fd from, MemorySegment buffer) {
    int bytes;
    try {
      bytes = linux.read(from, buffer);
    } catch (SystemCallException e) {
      bytes = 0;
    }
    if (bytes == 0) {
      from.close();
      output = Optional.empty();
      return;
    }
    try {
      linux.write(screen, buffer.asSlice(0, bytes));
      at += bytes;
    } catch (SystemCallException e) {
      if (e.errno() != Errno.EPIPE && e.errno() != Errno.EIO) {
        throw new Failure(
            Exit.FAILED, "io.holdfast.cli.NotWritten", String.valueOf(e.getMessage()));
      }
      ended = true;
    }
  }

  private void hear(Fd from, MemorySegment buffer) {
    int bytes;
    try {
      bytes = linux.read(from, buffer);
    } catch (SystemCallException e) {
      bytes = 0;
    }
    if (bytes == 0) {
      typing = false;
      // A terminal that has an end has been hung up; another input may just be all there is to say.
      ended = terminal;
      return;
    }
    byte[] typed = buffer.asSlice(0, bytes).toArray(ValueLayout.JAVA_BYTE);
    if (terminal) {
      for (int i = 0; i < typed.length; i++) {
        if (typed[i] == ESCAPE) {
          ended = true;
          typed = Arrays.copyOf(typed, i);
        }
      }
    }
    byte[] all = Arrays.copyOf(pending, pending.length + typed.length);
    System.arraycopy(typed, 0, all, pending.length, typed.length);
    pending = all;
    input.ifPresent(this::send);
  }

  private void send(Fd to) {
    while (pending.length > 0) {
      int bytes = Math.min(ATOMIC, pending.length);
      try {
        linux.write(to, MemorySegment.ofArray(pending).asSlice(0, bytes));
      } catch (SystemCallException e) {
        if (e.errno() == Errno.EAGAIN) {
          return;
        }
        // The guest's end is gone; its output's end follows and says so.
        pending = new byte[0];
        input.ifPresent(Fd::close);
        input = Optional.empty();
        return;
      }
      pending = Arrays.copyOfRange(pending, bytes, pending.length);
    }
  }

  private void attachAgain() {
    Optional<Attached> again;
    try {
      again = attaching.attach(OptionalLong.of(at));
    } catch (Failure failure) {
      if (failure.exit() != Exit.NO_AGENT
          && !failure.error().equals("io.holdfast.cli.ConnectionLost")) {
        throw failure;
      }
      if (!waiting) {
        waiting = true;
        say("the agent is gone; the guest goes on, and this waits for the next agent");
      }
      return;
    }
    if (again.isEmpty()) {
      say("it has ended");
      ended = true;
      return;
    }
    if (waiting) {
      waiting = false;
      say("the agent is there again");
    }
    long missed = again.get().from() - at;
    if (missed != 0) {
      say(missed > 0 ? missed + " bytes are no longer in the log" : "this is another VM's log");
    }
    take(again.get());
  }

  private void say(String message) {
    messages.print("holdfast: " + message + (terminal ? "\r\n" : "\n"));
    messages.flush();
  }

  @Override
  public void close() {
    output.ifPresent(Fd::close);
    input.ifPresent(Fd::close);
    output = Optional.empty();
    input = Optional.empty();
  }
}
