package io.holdfast.host.qemu;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * The QEMU command line of one generation of a VM. Everything that the guest can see comes from the
 * {@link Promise}; predecessor and successor differ in {@code -incoming} only. The descriptors
 * below are inherited under these numbers.
 */
final class CommandLine {
  /** The listening control socket, one per generation. */
  static final int QMP = 3;

  /** Guest RAM: the memfd. */
  static final int RAM = 4;

  static final int KERNEL = 5;
  static final int INITRD = 6;

  /** The first PCI slot of the disks; below it are the slots that machines take for themselves. */
  private static final int FIRST_SLOT = 4;

  private CommandLine() {}

  /**
   * Builds it.
   *
   * @param incoming whether this QEMU waits for a device state in place of booting
   */
  static List<String> build(String qemu, Promise promise, Path consoleLog, boolean incoming) {
    List<String> args = new ArrayList<>();
    args.add(qemu);
    add(args, "-name", "guest=" + promise.name());
    args.add("-nodefaults");
    args.add("-no-user-config");
    add(args, "-display", "none");
    add(args, "-machine", promise.machine() + ",memory-backend=ram0,usb=off,vmport=off");
    add(
        args,
        "-accel",
        promise.accelerator().equals("tcg") ? "tcg,thread=multi" : promise.accelerator());
    add(args, "-cpu", promise.cpu());
    add(args, "-smp", Integer.toString(promise.cpus()));
    add(args, "-m", "size=" + promise.memory() / 1024 + "k");
    // prealloc: the predecessor takes all it was promised at start, the successor maps it before
    // the guest stops.
    add(
        args,
        "-object",
        "memory-backend-file,id=ram0,size=%d,mem-path=/proc/self/fd/%d,share=on,prealloc=on"
            .formatted(promise.memory(), RAM));
    add(args, "-chardev", "socket,id=qmp,fd=" + QMP + ",server=on,wait=off");
    add(args, "-mon", "chardev=qmp,mode=control");
    add(args, "-chardev", "file,id=console,append=on,path=" + escaped(consoleLog.toString()));
    add(args, "-serial", "chardev:console");
    if (promise.kernel()) {
      add(args, "-kernel", "/proc/self/fd/" + KERNEL);
    }
    if (promise.initrd()) {
      add(args, "-initrd", "/proc/self/fd/" + INITRD);
    }
    if (promise.append().isPresent()) {
      add(args, "-append", promise.append().get());
    }
    for (int i = 0; i < promise.disks().size(); i++) {
      Disk disk = promise.disks().get(i);
      String readOnly = disk.readOnly() ? "on" : "off";
      add(
          args,
          "-blockdev",
          "driver=file,node-name=disk%d-file,filename=%s,read-only=%s,auto-read-only=off"
              .formatted(i, escaped(disk.path()), readOnly));
      add(
          args,
          "-blockdev",
          "driver=%s,node-name=disk%d,file=disk%d-file,read-only=%s"
              .formatted(disk.format(), i, i, readOnly));
      // Nailed to a slot: left to QEMU, an address may differ from one version to the next.
      add(
          args,
          "-device",
          "virtio-blk-pci,id=disk%d-device,drive=disk%d,addr=0x%x".formatted(i, i, FIRST_SLOT + i));
    }
    args.addAll(promise.extra());
    if (incoming) {
      // Paused after the load until the commit; a first generation starts by itself.
      args.add("-S");
      add(args, "-incoming", "defer");
    }
    return args;
  }

  private static void add(List<String> args, String option, String value) {
    args.add(option);
    args.add(value);
  }

  /** QEMU's option syntax doubles a comma that belongs to a value. */
  static String escaped(String value) {
    return value.replace(",", ",,");
  }
}
