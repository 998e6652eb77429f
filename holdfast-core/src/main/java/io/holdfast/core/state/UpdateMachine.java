package io.holdfast.core.state;

import static io.holdfast.core.state.Permission.ABSENT;
import static io.holdfast.core.state.Permission.AFTER_FINISH;
import static io.holdfast.core.state.Permission.NO;
import static io.holdfast.core.state.Permission.PARTICIPANTS;
import static io.holdfast.core.state.Permission.STOPPING;
import static io.holdfast.core.state.Permission.YES;
import static io.holdfast.core.state.UpdateState.CANCELLING;
import static io.holdfast.core.state.UpdateState.COMMITTED;
import static io.holdfast.core.state.UpdateState.FREEZING;
import static io.holdfast.core.state.UpdateState.FROZEN;
import static io.holdfast.core.state.UpdateState.HANDED_OVER;
import static io.holdfast.core.state.UpdateState.NORMAL;
import static io.holdfast.core.state.UpdateState.PREPARED;
import static io.holdfast.core.state.UpdateState.PREPARING;
import static io.holdfast.core.state.UpdateState.RESTORED;
import static io.holdfast.core.state.UpdateState.RESTORING;
import static io.holdfast.core.state.UpdateState.RESUMED;
import static io.holdfast.core.state.UpdateState.SHUTTING_DOWN;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.Supplier;

/**
 * The state of one update, with the one transition table and the one permission table that every
 * rule is read from.
 *
 * <p>Safe for use by many threads: an operation tried through {@link #whilePermitted} and a
 * transition never overlap.
 */
public final class UpdateMachine {
  /**
   * The usual course; SHUTTING_DOWN is left out on exec, and cancelling is added from {@link
   * #LAST_CANCELLABLE}.
   */
  private static final List<UpdateState> COURSE =
      List.of(
          NORMAL,
          PREPARING,
          PREPARED,
          SHUTTING_DOWN,
          FREEZING,
          FROZEN,
          HANDED_OVER,
          RESTORING,
          RESTORED,
          COMMITTED,
          RESUMED,
          NORMAL);

  private static final Map<CarrierKind, UpdateState> LAST_CANCELLABLE =
      Map.of(CarrierKind.EXEC, RESTORED, CarrierKind.KEXEC, FROZEN);

  private static final Map<CarrierKind, Map<UpdateState, Set<UpdateState>>> TRANSITIONS =
      transitions();

  /**
   * The permission table. Undoing puts back what was, so in CANCELLING only the participants may
   * drop what they preserved, and let the predecessor run.
   */
  private static final String TABLE =
      """
                    put take  remove map   resize guest dma-exec dma-kexec preserve unpreserve device-state
      NORMAL        yes yes   yes    yes   yes    yes   yes      yes       yes      yes        yes
      PREPARING     no  no    no     yes   no     yes   yes      yes       yes      no         yes
      PREPARED      no  no    no     yes   no     yes   yes      yes       no       no         no
      SHUTTING_DOWN no  no    no     no    no     yes   -        yes       no       no         no
      FREEZING      no  no    no     no    no     no    yes      stopping  no       no         yes
      FROZEN        no  no    no     no    no     no    yes      no        no       no         no
      HANDED_OVER   no  no    no     no    no     no    yes      no        no       no         no
      RESTORING     no  parts no     parts no     no    yes      no        no       no         no
      RESTORED      no  parts no     yes   yes    no    yes      yes       no       no         no
      COMMITTED     no  no    no     yes   yes    no    yes      yes       no       no         no
      RESUMED       yes yes   yes    yes   yes    yes   yes      yes       finished finished   finished
      CANCELLING    no  no    no     no    no     parts yes      yes       no       parts      no
      """;

  private static final Map<UpdateState, List<Permission>> PERMISSIONS = permissions();

  private static Map<UpdateState, List<Permission>> permissions() {
    Map<UpdateState, List<Permission>> rows = new EnumMap<>(UpdateState.class);
    for (String line : TABLE.lines().skip(1).toList()) {
      List<String> words = List.of(line.split(" +", -1));
      List<Permission> row = new ArrayList<>();
      for (String word : words.subList(1, words.size())) {
        row.add(
            switch (word) {
              case "yes" -> YES;
              case "no" -> NO;
              case "parts" -> PARTICIPANTS;
              case "finished" -> AFTER_FINISH;
              case "stopping" -> STOPPING;
              case "-" -> ABSENT;
              default -> throw new IllegalStateException("not a permission: " + word);
            });
      }
      rows.put(UpdateState.valueOf(words.getFirst()), row);
    }
    return rows;
  }

  private static Map<CarrierKind, Map<UpdateState, Set<UpdateState>>> transitions() {
    Map<CarrierKind, Map<UpdateState, Set<UpdateState>>> all = new EnumMap<>(CarrierKind.class);
    for (CarrierKind carrier : CarrierKind.values()) {
      Map<UpdateState, Set<UpdateState>> table = new EnumMap<>(UpdateState.class);
      for (UpdateState state : UpdateState.values()) {
        table.put(state, EnumSet.noneOf(UpdateState.class));
      }
      UpdateState from = NORMAL;
      for (UpdateState to : COURSE.subList(1, COURSE.size())) {
        if (to == SHUTTING_DOWN && carrier == CarrierKind.EXEC) {
          continue;
        }
        Set<UpdateState> next = table.getOrDefault(from, EnumSet.noneOf(UpdateState.class));
        next.add(to);
        if (from != NORMAL && from.compareTo(LAST_CANCELLABLE.getOrDefault(carrier, NORMAL)) <= 0) {
          next.add(CANCELLING);
        }
        from = to;
      }
      table.put(CANCELLING, EnumSet.of(NORMAL));
      all.put(carrier, table);
    }
    return all;
  }

  private final CarrierKind carrier;
  private volatile UpdateState state;
  private boolean finished;

  /** A machine in {@link UpdateState#NORMAL}. */
  public UpdateMachine(CarrierKind carrier) {
    this(carrier, NORMAL);
  }

  /** A machine that goes on where a journal says that an update stood. */
  public UpdateMachine(CarrierKind carrier, UpdateState state) {
    this.carrier = carrier;
    this.state = state;
  }

  /** The states that may follow {@code state}; empty when the carrier has no such state. */
  public static Set<UpdateState> next(UpdateState state, CarrierKind carrier) {
    return Set.copyOf(TRANSITIONS.getOrDefault(carrier, Map.of()).getOrDefault(state, Set.of()));
  }

  /**
   * Whether an update in {@code state} can be cancelled: whether {@link UpdateState#CANCELLING} may
   * follow.
   */
  public static boolean cancellable(UpdateState state, CarrierKind carrier) {
    return next(state, carrier).contains(CANCELLING);
  }

  /** What the permission table says. */
  public static Permission permission(UpdateState state, Operation operation, CarrierKind carrier) {
    int column =
        switch (operation) {
          case PUT -> 0;
          case TAKE -> 1;
          case REMOVE -> 2;
          case MAP -> 3;
          case RESIZE -> 4;
          case RUN_GUEST -> 5;
          case DMA -> carrier == CarrierKind.EXEC ? 6 : 7;
          case PRESERVE -> 8;
          case UNPRESERVE -> 9;
          case PRESERVE_DEVICE_STATE -> 10;
        };
    return Objects.requireNonNull(PERMISSIONS.get(state)).get(column);
  }

  /** What carries this update. */
  public CarrierKind carrier() {
    return carrier;
  }

  /** The state at this moment. */
  public UpdateState state() {
    return state;
  }

  /**
   * Goes to another state.
   *
   * @throws RefusedException if the transition table has no such transition; the state is then
   *     unchanged
   */
  public synchronized void enter(UpdateState to) {
    checkEnter(to);
    state = to;
    finished = false;
  }

  /**
   * Checks a transition without making it.
   *
   * @throws RefusedException as {@link #enter} would
   */
  public synchronized void checkEnter(UpdateState to) {
    Set<UpdateState> next = next(state, carrier);
    if (next.contains(to)) {
      return;
    }
    String remedy;
    if (to == CANCELLING) {
      remedy =
          state == NORMAL || state == CANCELLING
              ? "there is no update to cancel"
              : "the update is past its point of no return and can only go forward; update back to the old version once it is done";
    } else {
      remedy = "from here the update can go to " + names(next);
    }
    throw new RefusedException("going to " + to, where(), remedy);
  }

  /**
   * Says that every participant has finished, which permits changes of the preserved set again;
   * forgotten at the next transition.
   */
  public synchronized void finished() {
    finished = true;
  }

  /**
   * Checks an operation without trying it.
   *
   * @param operation what is to be done
   * @param actor on whose behalf
   * @param on what it is done to, for the message, such as {@code box vm1}
   * @throws RefusedException if the state refuses it
   */
  public synchronized void check(Operation operation, Actor actor, String on) {
    Permission permission = permission(state, operation, carrier);
    if (!permits(permission, actor)) {
      throw new RefusedException(
          operation.words() + " on " + on, where(), remedy(operation, actor, permission));
    }
  }

  /**
   * Does something while the state permits it, and keeps the state from changing meanwhile: {@code
   * work} must be short and must not wait.
   *
   * @throws RefusedException if the state refuses it; {@code work} is then not done
   */
  public synchronized <T> T whilePermitted(
      Operation operation, Actor actor, String on, Supplier<T> work) {
    check(operation, actor, on);
    return work.get();
  }

  private boolean permits(Permission permission, Actor actor) {
    return switch (permission) {
      case YES -> true;
      case PARTICIPANTS -> actor == Actor.PARTICIPANT;
      case AFTER_FINISH -> finished;
      case NO, STOPPING, ABSENT -> false;
    };
  }

  private String where() {
    return state + " (carrier " + (carrier == CarrierKind.EXEC ? "exec" : "kexec") + ")";
  }

  private String remedy(Operation operation, Actor actor, Permission here) {
    if (here == PARTICIPANTS) {
      return "only participants of the update may; wait for the update to end";
    }
    if (here == AFTER_FINISH) {
      return "wait until every participant has finished";
    }
    List<UpdateState> allowed = new ArrayList<>();
    for (UpdateState each : UpdateState.values()) {
      Permission there = permission(each, operation, carrier);
      if (there == YES || (there == PARTICIPANTS && actor == Actor.PARTICIPANT)) {
        allowed.add(each);
      }
    }
    return "it is allowed in "
        + names(allowed)
        + (cancellable(state, carrier)
            ? "; wait for the update to end, or cancel it"
            : "; wait for the update to end");
  }

  private static String names(Iterable<UpdateState> states) {
    EnumSet<UpdateState> sorted = EnumSet.noneOf(UpdateState.class);
    states.forEach(sorted::add);
    StringBuilder text = new StringBuilder();
    for (UpdateState each : sorted) {
      text.append(text.isEmpty() ? "" : ", ").append(each);
    }
    return text.toString();
  }
}
