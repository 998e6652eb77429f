package io.holdfast.vm;

import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.device.disk.Images;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.spec.Cdrom;
import io.holdfast.vm.spec.Device;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/** Changes the medium in a CD-ROM drive of a running guest. */
public final class Media {
  private Media() {}

  /**
   * Changes it. The image is opened first, so that a bad one leaves the drive as it was.
   *
   * @param path of a raw image; empty to leave the drive empty
   * @throws IOException if there is no such drive, or QEMU can't open the image
   */
  public static void change(Vm vm, String drive, Optional<String> path) throws IOException {
    VmSpec spec = vm.spec();
    List<String> drives = new ArrayList<>();
    for (Device device : spec.devices()) {
      if (device instanceof Cdrom cdrom) {
        if (cdrom.id().equals(drive)) {
          vm.promises(change(spec, cdrom, path, vm.process().qmp()));
          return;
        }
        drives.add(cdrom.id());
      }
    }
    throw new IOException(
        "VM "
            + spec.name()
            + " has no drive "
            + drive
            + "; "
            + (drives.isEmpty() ? "it has none at all" : "it has " + String.join(", ", drives)));
  }

  private static VmSpec change(VmSpec spec, Cdrom cdrom, Optional<String> path, Qmp qmp)
      throws QmpException {
    JsonObject id = JsonObject.of("id", cdrom.device());
    Cdrom changed = new Cdrom(cdrom.id(), path, cdrom.change() + 1);
    // Left of changes whose agent died, or whose QEMU answered late, before they were written down.
    // One that is in the drive stays until the drive is opened.
    List<Cdrom> left = new ArrayList<>(List.of(cdrom));
    Set<String> nodes =
        Images.nodes(qmp).stream()
            .map(node -> node.string("node-name"))
            .collect(Collectors.toSet());
    while (nodes.contains(changed.node()) || nodes.contains(changed.file())) {
      left.add(changed);
      remove(qmp, changed);
      changed = new Cdrom(cdrom.id(), path, changed.change() + 1);
    }
    if (path.isPresent()) {
      for (JsonObject node : changed.nodes()) {
        var _ = qmp.execute("blockdev-add", node);
      }
    }
    // By force: the guest is told, but asked for nothing.
    var _ = qmp.execute("blockdev-open-tray", id.with("force", true));
    var _ = qmp.execute("blockdev-remove-medium", id);
    if (path.isPresent()) {
      var _ = qmp.execute("blockdev-insert-medium", id.with("node-name", changed.node()));
    }
    var _ = qmp.execute("blockdev-close-tray", id);
    left.forEach(each -> remove(qmp, each));
    return spec.with(arguments(spec, cdrom, changed), devices(spec, cdrom, changed));
  }

  /**
   * Removes the nodes of a medium that is in no drive; those that there are none of are no error.
   */
  private static void remove(Qmp qmp, Cdrom cdrom) {
    for (String node : List.of(cdrom.node(), cdrom.file())) {
      try {
        var _ = qmp.execute("blockdev-del", JsonObject.of("node-name", node));
      } catch (QmpException e) {
        System.getLogger(Media.class.getName())
            .log(System.Logger.Level.DEBUG, "no node " + node + " to remove", e);
      }
    }
  }

  private static List<String> arguments(VmSpec spec, Cdrom before, Cdrom after) {
    List<String> arguments = new ArrayList<>();
    for (String argument : spec.arguments()) {
      if (argument.endsWith(",id=" + before.device() + before.drive())) {
        String device = argument.substring(0, argument.length() - before.drive().length());
        arguments.removeLast();
        arguments.addAll(after.mediumArguments());
        arguments.add("-device");
        arguments.add(device + after.drive());
      } else if (before.mediumArguments().contains(argument) && !argument.equals("-blockdev")) {
        arguments.removeLast();
      } else {
        arguments.add(argument);
      }
    }
    return arguments;
  }

  private static List<Device> devices(VmSpec spec, Cdrom before, Cdrom after) {
    return spec.devices().stream().map(each -> each.equals(before) ? after : each).toList();
  }
}
