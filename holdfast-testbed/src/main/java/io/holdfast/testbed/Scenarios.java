package io.holdfast.testbed;

import io.holdfast.testbed.scenarios.AgentUnderSystemd;
import io.holdfast.testbed.scenarios.BoxesCross;
import io.holdfast.testbed.scenarios.ClosingDiscards;
import io.holdfast.testbed.scenarios.DevicesAreThere;
import io.holdfast.testbed.scenarios.DumpAtKexec;
import io.holdfast.testbed.scenarios.FiveKernels;
import io.holdfast.testbed.scenarios.Forced;
import io.holdfast.testbed.scenarios.HandoverDecoded;
import io.holdfast.testbed.scenarios.HandoverDecodedOfOlderKernel;
import io.holdfast.testbed.scenarios.ImagesCross;
import io.holdfast.testbed.scenarios.KernelRefusals;
import io.holdfast.testbed.scenarios.KernelSelftest;
import io.holdfast.testbed.scenarios.KernelUndone;
import io.holdfast.testbed.scenarios.KernelUpdate;
import io.holdfast.testbed.scenarios.KernelUpdateMeasured;
import io.holdfast.testbed.scenarios.KernelUpdateShown;
import io.holdfast.testbed.scenarios.KernelUpdateUnderLinux;
import io.holdfast.testbed.scenarios.KilledInRestore;
import io.holdfast.testbed.scenarios.KselftestLiveupdate;
import io.holdfast.testbed.scenarios.LiveHostShown;
import io.holdfast.testbed.scenarios.LuoRefusals;
import io.holdfast.testbed.scenarios.LuoStates;
import io.holdfast.testbed.scenarios.MemfdCrosses;
import io.holdfast.testbed.scenarios.MemfdCrossesFromAnotherKernel;
import io.holdfast.testbed.scenarios.MissingLiveupdateLoses;
import io.holdfast.testbed.scenarios.NestedGuest;
import io.holdfast.testbed.scenarios.PreserveCallsReplayed;
import io.holdfast.testbed.scenarios.PreservingCosts;
import io.holdfast.testbed.scenarios.Provoked;
import io.holdfast.testbed.scenarios.RescueAfterKexec;
import io.holdfast.testbed.scenarios.SetAsideInRestore;
import io.holdfast.testbed.scenarios.SystemdAgentKilled;
import io.holdfast.testbed.scenarios.SystemdEndsVms;
import io.holdfast.testbed.scenarios.SystemdKeepsItsStore;
import io.holdfast.testbed.scenarios.SystemdKernelUpdate;
import io.holdfast.testbed.scenarios.SystemdLinuxGuest;
import io.holdfast.testbed.scenarios.SystemdUpdateFails;
import io.holdfast.testbed.scenarios.UnfinishedIsLost;
import java.lang.reflect.Constructor;
import java.util.List;
import java.util.stream.Stream;

/** The scenarios there are. */
public final class Scenarios {
  private Scenarios() {}

  /**
   * Those that run at night, or when they are named: they take many minutes, or show more of what
   * another scenario shows as well (docs/nightly.md).
   */
  public static List<Scenario> onRequest() {
    return List.of(
        new FiveKernels(),
        new Forced.WithoutKho(),
        new KernelUndone(),
        new KernelUpdateUnderLinux(),
        new KernelUpdateUnderLinux.OnKvm(),
        new KernelUpdateUnderLinux.AndItsWallClock(),
        new KernelUpdateShown(),
        new KernelSelftest.LuoMultiSession(),
        new KernelSelftest.LuoStressFiles(),
        new KernelSelftest.LuoStressSessions(),
        new KernelSelftest.Kho(),
        new LiveHostShown(),
        new NestedGuest(),
        new Provoked.Oops(),
        new Provoked.Lockdep(),
        new RescueAfterKexec.Named(),
        new SystemdLinuxGuest(),
        new SystemdUpdateFails.ForLong());
  }

  /** Those that measure, and hold no promise: they run when they are named. */
  static List<Scenario> measuring() {
    return List.of(new KernelUpdateMeasured(), new PreservingCosts());
  }

  /** Every one that can be named. */
  static List<Scenario> named() {
    return Stream.of(all(), onRequest(), measuring()).flatMap(List::stream).toList();
  }

  /** All others, in the order in which they run. */
  public static List<Scenario> all() {
    return List.of(
        new MemfdCrosses(),
        new MemfdCrossesFromAnotherKernel(),
        new LuoRefusals(),
        new LuoStates(),
        new ClosingDiscards(),
        new UnfinishedIsLost(),
        new MissingLiveupdateLoses(),
        new DumpAtKexec(),
        new HandoverDecoded(),
        new HandoverDecodedOfOlderKernel(),
        new PreserveCallsReplayed(),
        new DevicesAreThere(),
        new SystemdKeepsItsStore(),
        new KernelUpdate(),
        new BoxesCross(),
        new KilledInRestore(),
        new ImagesCross(),
        new SetAsideInRestore(),
        new RescueAfterKexec(),
        new KernelRefusals(),
        new Forced.WithoutLiveupdate(),
        new Forced.OtherLuo(),
        new AgentUnderSystemd(),
        new SystemdKernelUpdate(),
        new SystemdUpdateFails(),
        new SystemdAgentKilled(),
        new SystemdEndsVms(),
        new KselftestLiveupdate(),
        new KernelSelftest.LuoKexecSimple(),
        new Provoked.Panic(),
        new Provoked.Warn(),
        new Provoked.Hang());
  }

  /**
   * The one of this name.
   *
   * @throws IllegalArgumentException if there is none
   */
  public static Scenario named(String name) {
    return named().stream()
        .filter(scenario -> scenario.name().equals(name))
        .findFirst()
        .orElseThrow(() -> new IllegalArgumentException("there is no scenario " + name));
  }

  /** Makes one by its class's name. */
  static Scenario load(String name) throws ReflectiveOperationException {
    Constructor<?> constructor = Class.forName(name).getDeclaredConstructor();
    constructor.setAccessible(true);
    return (Scenario) constructor.newInstance();
  }
}
