package io.holdfast.core.run;

import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.JournalException;
import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Plan;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Target;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.Operation;
import io.holdfast.core.state.UpdateState;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Kernel;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Guests, a journal and descriptors that outlive the agents of a test, with the invariants checked
 * at every change.
 */
final class World {
  final VirtualWorkers time = new VirtualWorkers();
  final List<String> violations = new ArrayList<>();
  final List<JournalRecord> journalled = new ArrayList<>();
  final Map<String, Guest> guests = new LinkedHashMap<>();

  /** What goes wrong, once. */
  @Nullable Fault fault;

  enum Kind {
    FAIL,
    HANG,
    CRASH,
    CANCEL
  }

  /** Goes wrong at a participant's call, before or after its effect. */
  record Fault(Kind kind, String participant, Action action, boolean after) {}

  void violated(String what) {
    violations.add(what);
  }

  boolean committed() {
    return journalled.stream()
        .anyMatch(
            each ->
                each instanceof JournalRecord.Entered entered
                    && entered.state() == UpdateState.COMMITTED);
  }

  Guest guest(String name, String... after) {
    Guest guest = new Guest(name, Set.of(after));
    guests.put(name, guest);
    return guest;
  }

  /** One guest with its two processes, as the machine would have them. */
  final class Guest {
    final String name;
    final Set<String> after;
    boolean predecessorRuns = true;
    boolean fenced;
    boolean saved;
    boolean successorAlive;
    boolean loaded;
    boolean successorRuns;
    boolean successorRan;
    boolean reaped;

    Guest(String name, Set<String> after) {
      this.name = name;
      this.after = after;
    }

    void runPredecessor() {
      if (fenced || reaped) {
        violated(name + ": predecessor run after it was fenced");
      }
      if (successorRan) {
        violated(name + ": predecessor run after the successor ran");
      }
      JournalRecord.@Nullable Entered last = lastState();
      if (committed() && (last == null || last.state() != UpdateState.CANCELLING)) {
        violated(name + ": predecessor run after the commit");
      }
      predecessorRuns = true;
      exactlyOne();
    }

    void runSuccessor() {
      if (!committed()) {
        violated(name + ": successor run before the commit");
      }
      if (!fenced) {
        violated(name + ": successor run while the predecessor is not fenced");
      }
      if (!loaded || !successorAlive) {
        violated(name + ": successor run without state");
      }
      successorRuns = true;
      successorRan = true;
      exactlyOne();
    }

    private void exactlyOne() {
      if (predecessorRuns && successorRuns) {
        violated(name + ": runs twice");
      }
    }
  }

  JournalRecord.@Nullable Entered lastState() {
    JournalRecord.Entered last = null;
    for (JournalRecord each : journalled) {
      if (each instanceof JournalRecord.Entered entered) {
        last = entered;
      }
    }
    return last;
  }

  /**
   * The agent's process: when it dies, nothing that it does has an effect any more, and the kernel
   * closes its descriptors.
   */
  final class Agent {
    boolean dead;
    int appends;

    /** Dies, or fails, at the n-th append, if not negative. */
    int crashBeforeAppend = -1;

    int crashAfterAppend = -1;
    Set<Integer> failAppends = Set.of();
    private final Set<Long> open = new HashSet<>();
    private final AtomicInteger numbers = new AtomicInteger(100);
    @Nullable Orchestrator orchestrator;
    final List<TimelineEvent> heard = new ArrayList<>();
    final Map<String, Fd> channels = new LinkedHashMap<>();

    final Kernel kernel =
        (call, a, b, c, d, e, f) -> {
          if (!dead && !open.remove(a)) {
            violated("descriptor " + a + " closed twice");
          }
          return 0;
        };

    Fd descriptor(String what) {
      int number = numbers.incrementAndGet();
      open.add((long) number);
      return Fd.own(kernel, number, what);
    }

    int openDescriptors() {
      return open.size();
    }

    void die() {
      dead = true;
      open.clear();
    }

    final Journal journal =
        new Journal() {
          @Override
          public void append(JournalRecord record) {
            int n = appends++;
            if (n == crashBeforeAppend) {
              die();
            }
            if (dead) {
              throw new JournalException("dead");
            }
            if (failAppends.contains(n)) {
              throw new JournalException("no space for record " + n);
            }
            journalled.add(record);
            if (n == crashAfterAppend) {
              die();
            }
            if (dead) {
              throw new JournalException("dead");
            }
          }

          @Override
          public List<JournalRecord> read() {
            return List.copyOf(journalled);
          }
        };

    List<Vm> participants() {
      List<Vm> all = new ArrayList<>();
      guests.values().forEach(guest -> all.add(new Vm(this, guest)));
      return all;
    }

    Deadlines deadlines() {
      return Deadlines.usual();
    }

    Outcome update() {
      Orchestrator update =
          new ExecUpdate<>(
              new UpdateId("u1"), participants(), journal, time, deadlines(), heard::add);
      orchestrator = update;
      return time.simulate(update::run);
    }

    /** The outcome of a recovery, or null if there was nothing to recover. */
    @Nullable Outcome recover() {
      Orchestrator recovery =
          UpdateHistory.of(journalled)
              .filter(history -> !history.ended())
              .map(
                  history ->
                      new ExecRecovery<>(
                          history, participants(), journal, time, deadlines(), heard::add))
              .orElse(null);
      orchestrator = recovery;
      return recovery == null ? null : time.simulate(recovery::run);
    }
  }

  /** A participant whose sides are both in this agent. */
  interface Both extends Source, Target {}

  static final class Died extends Exception {
    private static final long serialVersionUID = 1L;
  }

  /** What the agent does with a guest, as a VM participant would. */
  final class Vm implements Both {
    private final Agent agent;
    private final Guest guest;

    Vm(Agent agent, Guest guest) {
      this.agent = agent;
      this.guest = guest;
    }

    @Override
    public String name() {
      return guest.name;
    }

    @Override
    public Set<String> after() {
      return guest.after;
    }

    @Override
    public Plan plan() {
      return Plan.of("guest memory");
    }

    private interface Effect {
      void happen() throws Exception;
    }

    private void call(Step step, int millis, Effect effect) throws Exception {
      time.sleep(Duration.ofMillis(millis));
      hook(step, false);
      if (agent.dead) {
        throw new Died();
      }
      effect.happen();
      hook(step, true);
    }

    private void hook(Step step, boolean after) throws Exception {
      Fault planned = fault;
      if (planned != null
          && planned.participant().equals(guest.name)
          && planned.action() == step.action()
          && planned.after() == after) {
        fault = null;
        switch (planned.kind()) {
          case FAIL -> throw new IllegalStateException("injected");
          case HANG -> time.sleep(Duration.ofDays(1));
          case CRASH -> {
            agent.die();
            throw new Died();
          }
          case CANCEL -> {
            Orchestrator orchestrator = agent.orchestrator;
            if (orchestrator != null) {
              orchestrator.cancel("injected");
            }
          }
        }
      }
    }

    @Override
    public void prepare(Step step) throws Exception {
      call(
          step,
          30,
          () -> {
            guest.successorAlive = true;
            agent.channels.put(guest.name, agent.descriptor("channel"));
            step.record("successor", "pid-of-" + guest.name);
          });
    }

    @Override
    public void freeze(Step step) throws Exception {
      call(step, 1, () -> guest.predecessorRuns = false);
    }

    @Override
    public void handOver(Step step) throws Exception {
      call(
          step,
          3,
          () -> {
            if (guest.predecessorRuns) {
              violated("state handed over while the guest runs");
            }
            guest.saved = true;
          });
    }

    @Override
    public void restore(Step step) throws Exception {
      call(
          step,
          2,
          () -> {
            if (guest.successorRan) {
              violated("restored after the successor ran: back in time");
            }
            if (!guest.saved) {
              violated("restored without state");
            }
            guest.successorAlive = true;
            guest.loaded = true;
          });
    }

    @Override
    public void fence(Step step) throws Exception {
      call(
          step,
          1,
          () -> {
            if (!committed()) {
              violated("fenced before the commit");
            }
            guest.fenced = true;
          });
    }

    @Override
    public void resume(Step step) throws Exception {
      call(
          step,
          1,
          () -> {
            step.check(Operation.RUN_GUEST);
            guest.runSuccessor();
          });
    }

    @Override
    public void finish(Step step) throws Exception {
      call(
          step,
          5,
          () -> {
            guest.reaped = true;
            closeChannel();
          });
    }

    @Override
    public void cancel(Step step) throws Exception {
      call(
          step,
          2,
          () -> {
            if (guest.successorRan) {
              violated("cancelled after the successor ran");
            }
            if (recordedInJournal(guest.name) && step.recorded("successor").isEmpty()) {
              violated("recovery lost what was recorded");
            }
            guest.successorAlive = false;
            guest.loaded = false;
            closeChannel();
            if (!guest.predecessorRuns) {
              step.check(Operation.RUN_GUEST);
              guest.runPredecessor();
            }
          });
    }

    private boolean recordedInJournal(String name) {
      return journalled.stream()
          .anyMatch(
              each -> each instanceof JournalRecord.Fact fact && fact.participant().equals(name));
    }

    private void closeChannel() {
      Fd channel = agent.channels.get(guest.name);
      if (channel != null) {
        channel.close();
      }
    }
  }
}
