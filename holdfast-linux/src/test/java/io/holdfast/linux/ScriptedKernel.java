package io.holdfast.linux;

import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * The real kernel with a script that may answer a call in its place, or delay it, or stop at it.
 * Remembers the calls.
 */
final class ScriptedKernel implements Kernel {
  /** What may answer in the kernel's place. */
  interface Script {
    /**
     * The answer to one call; empty to let the kernel answer.
     *
     * @param nth how many calls there were before it
     */
    OptionalLong answer(Call call, int nth);
  }

  private final Script script;
  private final List<Call> seen = new CopyOnWriteArrayList<>();

  ScriptedKernel(Script script) {
    this.script = script;
  }

  /** The kernel as it is, with its calls remembered. */
  static ScriptedKernel recording() {
    return new ScriptedKernel((call, nth) -> OptionalLong.empty());
  }

  /** Refuses every {@code refused} with {@code errno}. */
  static ScriptedKernel refusing(Call refused, Errno errno) {
    return new ScriptedKernel(
        (call, nth) -> call == refused ? failure(errno) : OptionalLong.empty());
  }

  /** Refuses the nth call, counted from 0, with {@code errno}. */
  static ScriptedKernel refusing(int refused, Errno errno) {
    return new ScriptedKernel(
        (call, nth) -> nth == refused ? failure(errno) : OptionalLong.empty());
  }

  static OptionalLong failure(Errno errno) {
    return OptionalLong.of(-errno.number());
  }

  /** The calls so far. */
  List<Call> seen() {
    return List.copyOf(seen);
  }

  @Override
  public long call(Call call, long a, long b, long c, long d, long e, long f) {
    int nth;
    synchronized (this) {
      nth = seen.size();
      seen.add(call);
    }
    OptionalLong answer = script.answer(call, nth);
    return answer.isPresent() ? answer.getAsLong() : Kernel.system().call(call, a, b, c, d, e, f);
  }
}
