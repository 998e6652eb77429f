package io.holdfast.host.qemu;

import io.holdfast.linux.Fd;
import java.io.IOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** All backends of a VM, each called in the order of its devices. */
final class Backends implements AutoCloseable {
  private final List<Backend> all;

  private Backends(List<Backend> all) {
    this.all = all;
  }

  /** Makes them; nothing is opened yet. */
  static Backends of(BackendContext context, Promise promise) {
    return new Backends(
        promise.devices().stream()
            .map(device -> of(context, device))
            .flatMap(Optional::stream)
            .toList());
  }

  private static Optional<Backend> of(BackendContext context, Device device) {
    return switch (device) {
      case Adopted adopted -> Optional.of(new AdoptedBackend(adopted));
      case Disk disk -> Optional.of(new DiskBackend(disk));
      case TapNetwork network -> Optional.of(new TapBackend(context, network));
      case UserNetwork network -> Optional.of(new UserNetworkBackend(context, network));
      case Cdrom _, Emulated _ -> Optional.empty();
    };
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

  void plan(Findings findings) throws IOException {
    for (Backend each : all) {
      each.plan(findings);
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

  void frozen(int generation) throws IOException {
    for (Backend each : all) {
      each.frozen(generation);
    }
  }

  void switchTo(int generation) throws IOException {
    for (Backend each : all) {
      each.switchTo(generation);
    }
  }

  void running(int generation, Qmp qmp) throws IOException {
    for (Backend each : all) {
      each.running(generation, qmp);
    }
  }

  void drop(int generation) throws IOException {
    for (Backend each : all) {
      each.drop(generation);
    }
  }

  @Override
  public void close() {
    all.forEach(Backend::close);
  }
}
