package io.holdfast.testbed;

import java.io.IOException;

/** Runs a scenario's inside half; {@code testbed/init} starts it on every kernel. */
final class InsideMain {
  private static final long ALIVE_MILLIS = 2000;

  private InsideMain() {}

  /** The one argument is the scenario's class. */
  public static void main(String[] arguments) throws IOException {
    Inside inside = new Inside();
    inside.say(new Report.Boot(inside.boot(), inside.release()));
    Thread alive = new Thread(() -> tellAlive(inside), "alive");
    alive.setDaemon(true);
    alive.start();
    inside.say(run(inside, arguments[0]));
    // The outside ends the machine, or somebody looks around in it.
    Inside.sleep(Long.MAX_VALUE);
  }

  private static Report run(Inside inside, String name) {
    try {
      Scenario scenario = Scenarios.load(name);
      if (inside.boot() == 0) {
        scenario.before(inside);
      } else {
        scenario.after(inside);
      }
      return new Report.Done();
    } catch (SkippedException e) {
      return new Report.Skip(String.valueOf(e.getMessage()));
    } catch (Throwable t) {
      // All of it for the console; the outside needs to know what and where.
      t.printStackTrace();
      StringBuilder text = new StringBuilder(t.toString());
      for (StackTraceElement frame : t.getStackTrace()) {
        if (frame.getClassName().startsWith("io.holdfast.testbed.")) {
          text.append(" | at ").append(frame);
        }
      }
      return new Report.Fail("on kernel " + inside.boot() + ": " + text);
    }
  }

  private static void tellAlive(Inside inside) {
    while (!inside.quiet()) {
      inside.say(new Report.Alive());
      Inside.sleep(ALIVE_MILLIS);
    }
  }
}
