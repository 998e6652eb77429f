package io.holdfast.vm;

import io.holdfast.linux.Fd;
import io.holdfast.vm.channel.Console;
import io.holdfast.vm.channel.Port;
import io.holdfast.vm.device.AdoptedBackend;
import io.holdfast.vm.device.Backend;
import io.holdfast.vm.device.BackendContext;
import io.holdfast.vm.device.ChannelBackend;
import io.holdfast.vm.device.disk.DiskBackend;
import io.holdfast.vm.device.network.TapBackend;
import io.holdfast.vm.device.network.UserNetworkBackend;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.spec.Adopted;
import io.holdfast.vm.spec.Cdrom;
import io.holdfast.vm.spec.ConsoleDevice;
import io.holdfast.vm.spec.Device;
import io.holdfast.vm.spec.Disk;
import io.holdfast.vm.spec.Emulated;
import io.holdfast.vm.spec.Findings;
import io.holdfast.vm.spec.PortDevice;
import io.holdfast.vm.spec.TapNetwork;
import io.holdfast.vm.spec.UserNetwork;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/** All backends of a VM, each called in the order of its devices. */
public final class Backends implements AutoCloseable {
  private final List<Backend> all;

  private Backends(List<Backend> all) {
    this.all = all;
  }

  /** Makes them; nothing is opened yet. */
  static Backends of(BackendContext context, VmSpec spec) {
    return new Backends(
        spec.devices().stream()
            .map(device -> of(context, device))
            .flatMap(Optional::stream)
            .toList());
  }

  private static Optional<Backend> of(BackendContext context, Device device) {
    Path directory = context.directory();
    return switch (device) {
      case Adopted adopted -> Optional.of(new AdoptedBackend(adopted));
      case Disk disk -> Optional.of(new DiskBackend(disk));
      case TapNetwork network -> Optional.of(new TapBackend(context, network));
      case UserNetwork network -> Optional.of(new UserNetworkBackend(context, network));
      case ConsoleDevice console -> {
        Path log = Vm.consoleLog(directory);
        yield Optional.of(
            new ChannelBackend(
                new Console(
                    context.linux(),
                    context.store(),
                    context.id(),
                    device.id(),
                    log,
                    console.logLimit()),
                device.id(),
                "the console and who watches it stay connected, its log " + log + " goes on",
                new ChannelBackend.Crossing(
                    "the console's log " + log + " goes on",
                    "who watches the console is cut off, and what was typed and not read is lost")));
      }
      case PortDevice port ->
          Optional.of(
              new ChannelBackend(
                  new Port(
                      context.linux(),
                      context.store(),
                      context.id(),
                      device.id(),
                      port.socket(directory)),
                  device.id(),
                  "channel " + port.name() + " and its client stay connected",
                  new ChannelBackend.Crossing(
                      "channel " + port.name() + " is there again",
                      "the client of channel " + port.name() + " is cut off")));
      case Cdrom _, Emulated _ -> Optional.empty();
    };
  }

  /** The console, if the VM has one of ours. */
  Optional<Console> console() {
    return all.stream()
        .flatMap(each -> each instanceof ChannelBackend backend ? Stream.of(backend) : Stream.of())
        .flatMap(
            each -> each.channel() instanceof Console console ? Stream.of(console) : Stream.of())
        .findFirst();
  }

  /** See {@link Backend#open}; if it throws, nothing stays open. */
  Map<String, Fd> open(int generation) throws IOException {
    Map<String, Fd> opened = new HashMap<>();
    boolean done = false;
    try {
      for (Backend each : all) {
        opened.putAll(each.open(generation));
      }
      done = true;
      return opened;
    } finally {
      if (!done) {
        opened.values().forEach(Fd::close);
      }
    }
  }

  /** See {@link Backend#plan}. */
  public void plan(Findings findings) throws IOException {
    for (Backend each : all) {
      each.plan(findings);
    }
  }

  /** See {@link Backend#planCrossing}. */
  public void planCrossing(Findings findings) throws IOException {
    for (Backend each : all) {
      each.planCrossing(findings);
    }
  }

  /** See {@link Backend#packed}; if it throws, nothing stays open. */
  public Map<String, Fd> packed(int generation) throws IOException {
    Map<String, Fd> packed = new HashMap<>();
    boolean done = false;
    try {
      for (Backend each : all) {
        packed.putAll(each.packed(generation));
      }
      done = true;
      return packed;
    } finally {
      if (!done) {
        packed.values().forEach(Fd::close);
      }
    }
  }

  /** See {@link Backend#stays}. */
  public void stays(int generation) throws IOException {
    for (Backend each : all) {
      each.stays(generation);
    }
  }

  void prepared(int generation, Qmp qmp) throws IOException {
    for (Backend each : all) {
      each.prepared(generation, qmp);
    }
  }

  void attached(int generation) throws IOException {
    for (Backend each : all) {
      each.attached(generation);
    }
  }

  /** See {@link Backend#frozen}. */
  public void frozen(int generation) throws IOException {
    for (Backend each : all) {
      each.frozen(generation);
    }
  }

  /** See {@link Backend#switchTo}. */
  public void switchTo(int generation) throws IOException {
    for (Backend each : all) {
      each.switchTo(generation);
    }
  }

  /** See {@link Backend#running}. */
  public void running(int generation, Qmp qmp) throws IOException {
    for (Backend each : all) {
      each.running(generation, qmp);
    }
  }

  /** See {@link Backend#drop}. */
  public void drop(int generation) throws IOException {
    for (Backend each : all) {
      each.drop(generation);
    }
  }

  @Override
  public void close() {
    all.forEach(Backend::close);
  }
}
