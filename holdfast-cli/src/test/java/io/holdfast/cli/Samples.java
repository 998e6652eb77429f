package io.holdfast.cli;

import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;

/** Replies of an agent, as the interface files describe them. */
final class Samples {
  private Samples() {}

  static final JsonObject RUNNING =
      Json.parse(
          """
          {"name":"web","state":"running","pid":4711,"generation":2,"qemu":"/usr/bin/qemu-system-x86_64",
           "qemuVersion":"7.2.13","machine":"pc-q35-7.2","cpu":"max,+avx2,-la57","accelerator":"tcg",
           "acceleratorReason":"/dev/kvm can't run a guest","memory":1073741824,"cpus":2,
           "consoleLog":"/run/holdfast/web/console.log",
           "definition":{"name":"web","memory":1073741824,"cpus":2,"hugePages":"transparent",
             "kernel":"/boot/vmlinuz","initrd":"/boot/initrd","append":"console=ttyS0 quiet",
             "disks":[{"path":"/d/root.qcow2","format":"qcow2"},{"path":"/d/cd.img","readOnly":true}],
             "networks":[{"kind":"tap","mac":"52:54:00:00:00:01","bridge":"br0","queues":2},
               {"kind":"user","mac":"52:54:00:00:00:02",
                "hostForwards":[{"address":"127.0.0.1","port":2222,"guestPort":22},{"port":80,"guestPort":80}]}],
             "extra":["-device","virtio-rng-pci","-name","a b"]}}
          """);

  static final JsonObject LOST =
      Json.parse(
          """
          {"name":"db","state":"lost","reason":"its QEMU was killed:\\n signal 9","generation":1,
           "qemu":"/opt/qemu","qemuVersion":"10.0.2","machine":"pc-q35-10.0","cpu":"max","accelerator":"kvm",
           "acceleratorReason":"","memory":1610612736,"cpus":1,"consoleLog":"/run/holdfast/db/console.log",
           "definition":{"name":"db","memory":1610612736,"cpus":1,"disks":[],"extra":[]}}
          """);

  static final JsonObject COMPLETED =
      Json.parse(
          """
          {"id":"u7","kind":"vmm","target":"web","outcome":"completed",
           "message":"web runs under QEMU 10.0.2 now","started":1795430400000,
           "brownout":1203100000,"blackout":9630000,"blackoutSource":"qemu","controllerBlackoutNanos":11240000,"obstacles":[],"losses":["user-mode connections"],
           "spans":[
            {"participant":"vm:web","step":"prepare","state":"PREPARING","phase":"brownout",
             "start":0,"length":1203100000,"notes":{}},
            {"participant":"vm:web","step":"freeze","state":"FREEZING","phase":"blackout",
             "start":1203100000,"length":6240000,"notes":{"bytes":"312344"}},
            {"participant":"vm:web","step":"resume","state":"COMMITTED","phase":"blackout",
             "start":1209340000,"length":5000000,"notes":{}}]}
          """);

  static final JsonObject CANCELLED =
      Json.parse(
          """
          {"id":"u8","kind":"vmm","target":"web","outcome":"cancelled",
           "message":"the user asked for it; web runs on as before","started":1795430460000,
           "brownout":500000000,"blackout":0,"obstacles":[],"losses":[],"spans":[]}
          """);

  static final JsonObject REFUSED =
      Json.parse(
          """
          {"id":"u9","kind":"vmm","target":"web","outcome":"refused","message":"2 obstacles",
           "started":1795430520000,"brownout":0,"blackout":0,
           "obstacles":[
            {"participant":"vm:web","what":"device nvme","why":"QEMU marks it unmigratable",
             "advice":"use virtio-blk"},
            {"participant":"vm:web","what":"machine pc-q35-10.0","why":"QEMU 7.2.13 lacks it","advice":""}],
           "losses":[],"spans":[]}
          """);

  static final JsonObject PLAN =
      Json.parse(
          """
          {"id":"u9","kind":"vmm","target":"web","outcome":"planned",
           "message":"it can be done. guest RAM, 1 GiB, in place","started":1795430520000,
           "brownout":1200000000,"blackout":15000000,"obstacles":[],"losses":["user-mode connections"],
           "risks":["disk0 may send a subsection that QEMU 7.2.22 does not know"],"spans":[]}
          """);

  static final JsonObject STATUS =
      Json.parse(
          """
          {"version":"0.1.0","pid":99,"uptime":3661000,"runDirectory":"/run/holdfast",
           "keeper":"process 98","heldDescriptors":1,"vms":2,"recovering":1,"updates":3,"recovered":["web: rolled back u6"],
           "refusedConnections":400}
          """);
}
