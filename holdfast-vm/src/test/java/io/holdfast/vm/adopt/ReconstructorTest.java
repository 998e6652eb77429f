package io.holdfast.vm.adopt;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.promise.Promise;
import io.holdfast.vm.adopt.Reconstruction.Opened;
import io.holdfast.vm.adopt.Reconstruction.Taken;
import io.holdfast.vm.option.QemuCommand;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ReconstructorTest {
  private static final String SHARED =
      "-m 256 -object memory-backend-memfd,id=mem,size=256M,share=on -machine"
          + " q35,memory-backend=mem";

  /** As libvirt 9.0 of Debian 12 starts a VM with a second monitor. */
  private static final List<String> LIBVIRT =
      List.of(
          "/usr/bin/qemu-system-x86_64",
          "-name",
          "guest=web,debug-threads=on",
          "-S",
          "-object",
          "{\"qom-type\":\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\",\"file\":\"/var/lib/libvirt/qemu/domain-1-web/master-key.aes\"}",
          "-machine",
          "pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram",
          "-accel",
          "kvm",
          "-cpu",
          "host,migratable=on",
          "-m",
          "256",
          "-object",
          "{\"qom-type\":\"memory-backend-memfd\",\"id\":\"pc.ram\",\"share\":true,\"x-use-canonical-path-for-ramblock-id\":false,\"size\":268435456}",
          "-overcommit",
          "mem-lock=off",
          "-smp",
          "1,sockets=1,cores=1,threads=1",
          "-uuid",
          "99109d7b-6941-4e2f-bef0-0bccc009efc8",
          "-display",
          "none",
          "-no-user-config",
          "-nodefaults",
          "-chardev",
          "socket,id=charmonitor,fd=22,server=on,wait=off",
          "-mon",
          "chardev=charmonitor,id=monitor,mode=control",
          "-rtc",
          "base=utc",
          "-no-shutdown",
          "-boot",
          "strict=on",
          "-device",
          "{\"driver\":\"pcie-root-port\",\"port\":8,\"chassis\":1,\"id\":\"pci.1\",\"bus\":\"pcie.0\",\"addr\":\"0x1\"}",
          "-blockdev",
          "{\"driver\":\"file\",\"filename\":\"/srv/web.qcow2\",\"node-name\":\"libvirt-1-storage\",\"auto-read-only\":true,\"discard\":\"unmap\"}",
          "-blockdev",
          "{\"node-name\":\"libvirt-1-format\",\"read-only\":false,\"driver\":\"qcow2\",\"file\":\"libvirt-1-storage\"}",
          "-device",
          "{\"driver\":\"virtio-blk-pci\",\"bus\":\"pci.1\",\"addr\":\"0x0\",\"drive\":\"libvirt-1-format\",\"id\":\"virtio-disk0\",\"bootindex\":1}",
          "-add-fd",
          "set=0,fd=21,opaque=serial0-source",
          "-chardev",
          "file,id=charserial0,path=/dev/fdset/0,append=on",
          "-device",
          "{\"driver\":\"isa-serial\",\"chardev\":\"charserial0\",\"id\":\"serial0\",\"index\":0}",
          "-chardev",
          "socket,id=charchannel0,fd=23,server=on,wait=off",
          "-audiodev",
          "{\"id\":\"audio1\",\"driver\":\"none\"}",
          "-chardev",
          "socket,id=second,server=on,wait=off,path=/run/second.sock",
          "-mon",
          "chardev=second,mode=control",
          "-sandbox",
          "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
          "-msg",
          "timestamp=on");

  private static Reconstruction of(
      List<String> words, Map<Long, List<Integer>> sets, Map<String, Integer> listeners) {
    return Reconstructor.of(
        new RunningQemu(
            QemuCommand.parse(words),
            Path.of("/home/me"),
            "pc-q35-7.2",
            "tcg",
            "base,aes=on,enforce=on",
            sets,
            listeners,
            Optional.of(Path.of("/run/vm/console.log"))));
  }

  private static Reconstruction of(String line) {
    return of(
        List.of(("qemu " + line).split(" ", -1)),
        Map.of(),
        new TreeMap<>(Map.of("unix:/home/me/s.sock", 9, "tcp:7000", 10)));
  }

  @Test
  @Promise("adoption")
  void libvirtsCommandLine() {
    Reconstruction made = of(LIBVIRT, Map.of(0L, List.of(8)), Map.of());
    assertThat(made.obstacles()).isEmpty();
    assertThat(made.memoryBackend()).contains("pc.ram");
    assertThat(made.sources())
        .isEqualTo(
            Map.of(
                "adopted-8",
                new Taken(8),
                "adopted-23",
                new Taken(23),
                "file-masterKey0",
                new Opened(Path.of("/var/lib/libvirt/qemu/domain-1-web/master-key.aes"))));
    assertThat(made.arguments())
        .containsSubsequence("-add-fd", "set=0,fd=${fd:adopted-8}")
        .containsSubsequence(
            "-machine", "pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram")
        .containsSubsequence("-accel", "tcg")
        .containsSubsequence("-cpu", "base,aes=on,enforce=on")
        .contains("socket,id=charchannel0,fd=${fd:adopted-23},server=on,wait=off")
        .contains("socket,id=holdfast-qmp,fd=${fd:qmp},server=on,wait=off")
        .contains("file,id=charserial0,path=/dev/fdset/0,append=on")
        .doesNotContain("-S", "-no-shutdown", "chardev=second,mode=control");
    assertThat(made.arguments())
        .filteredOn(a -> a.contains("pc.ram") && a.contains("qom-type"))
        .singleElement()
        .asString()
        .contains("\"memory-backend-file\"", "/proc/self/fd/${fd:ram}", "\"share\":true")
        .contains("\"x-use-canonical-path-for-ramblock-id\":false", "268435456");
    // What the guest sees is there word for word, and in its order.
    List<String> guests =
        LIBVIRT.stream()
            .filter(
                w ->
                    w.startsWith("{\"driver\":\"pcie")
                        || w.startsWith("{\"driver\":\"virtio")
                        || w.startsWith("{\"driver\":\"isa"))
            .toList();
    assertThat(made.arguments()).containsSubsequence(guests);
    assertThat(String.join("\n", made.firstLosses()))
        .contains("charmonitor", "second", "-no-shutdown");
    assertThat(made.losses()).singleElement().asString().contains("charchannel0");
  }

  @Test
  void pathsAreMeantInItsWorkingDirectory() {
    Reconstruction made =
        of(
            SHARED
                + " -drive file=a.qcow2,if=virtio -blockdev raw,node-name=n,file.driver=file,file.filename=b"
                + " -cdrom c.iso -kernel k -initrd /boot/i -bios seabios.bin -serial file:out c.img");
    assertThat(made.obstacles()).isEmpty();
    assertThat(made.arguments())
        .contains("file=/home/me/a.qcow2,if=virtio")
        .contains("raw,node-name=n,file.driver=file,file.filename=/home/me/b")
        .contains("/home/me/c.iso")
        .contains("/proc/self/fd/${fd:kernel}")
        .contains("seabios.bin")
        .containsSubsequence("-hda", "/home/me/c.img")
        .contains("file,id=holdfast-serial0,path=/home/me/out,append=on");
    assertThat(made.sources())
        .containsEntry("kernel", new Opened(Path.of("/home/me/k")))
        .containsEntry("initrd", new Opened(Path.of("/boot/i")));
  }

  @Test
  void aDaemonHasLeftItsDirectory() {
    assertThat(of(SHARED + " -daemonize -hda a.img").obstacles())
        .extracting(Obstacle::why)
        .singleElement()
        .asString()
        .contains("-daemonize");
  }

  @Test
  void terminalsBecomeTheConsole() {
    Reconstruction made = of(SHARED + " -nographic -monitor none -serial pty -serial pty");
    assertThat(made.obstacles()).isEmpty();
    assertThat(made.arguments())
        .contains("file,id=holdfast-serial0,path=/run/vm/console.log,append=on")
        .contains("null,id=holdfast-serial1")
        .containsSubsequence("-parallel", "null");
    assertThat(of(SHARED + " -nographic").arguments())
        .contains("file,id=holdfast-serial0,path=/run/vm/console.log,append=on");
    assertThat(of(SHARED + " -nographic -nodefaults").arguments()).doesNotContain("-serial");
  }

  @Test
  void listeningSocketsAreHandedOn() {
    Reconstruction made =
        of(
            SHARED
                + " -serial unix:s.sock,server=on,wait=off"
                + " -chardev socket,id=c,host=127.0.0.1,port=7000,server=on,telnet=on"
                + " -device virtserialport,chardev=c");
    assertThat(made.obstacles()).isEmpty();
    assertThat(made.arguments())
        .contains("socket,id=c,server=on,telnet=on,fd=${fd:adopted-10},wait=off")
        .contains("socket,id=holdfast-serial0,server=on,wait=off,fd=${fd:adopted-9}");
    assertThat(made.losses()).hasSize(3);
  }

  @Test
  void machineOptionsThatLaterVersionsLackBecomeProperties() {
    assertThat(of(SHARED + " -no-hpet -no-acpi -M accel=kvm:tcg -enable-kvm").arguments())
        .containsSubsequence("-machine", "pc-q35-7.2,hpet=off,acpi=off,memory-backend=mem")
        .containsSubsequence("-accel", "tcg")
        .doesNotContain("-enable-kvm", "-no-hpet");
  }

  @Test
  void oneNumaNodeMayHaveAllMemory() {
    Reconstruction made =
        of(
            "-m 256 -object memory-backend-file,id=r,mem-path=/dev/hugepages,size=256M,share=on,"
                + "discard-data=on -numa node,memdev=r");
    assertThat(made.obstacles()).isEmpty();
    assertThat(made.arguments())
        .contains("memory-backend-file,id=r,mem-path=/proc/self/fd/${fd:ram},size=256M,share=on")
        .contains("node,memdev=r");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          -m 256 | own memory
          -m 256 -mem-path /dev/hugepages | own memory
          -m 256 -object memory-backend-ram,id=m,size=256M -machine memory-backend=m | share is off
          -m 256 -object memory-backend-file,id=m,mem-path=/x,size=256M -machine memory-backend=m | share is off
          -m 256 -object memory-backend-memfd,id=a,size=1M -object memory-backend-memfd,id=b,size=1M | several parts
          @ -device vfio-pci,host=01:00.0 | hardware
          @ -device usb-host,id=u | hardware
          @ -device vhost-user-fs-pci,chardev=c | takes one QEMU at a time
          @ -device vhost-vsock-pci,guest-cid=3 | under a name
          @ -device ivshmem-plain,memdev=x | memory besides the RAM
          @ -device usb-redir,chardev=c | session with somebody outside
          @ -netdev tap,id=n | TAP
          @ -netdev user,id=n,hostfwd=tcp::22-:22 | host port
          @ -netdev socket,id=n,connect=:1 | one QEMU at a time
          @ -nic bridge | TAP
          @ -chardev socket,id=c,path=/x -device isa-serial,chardev=c | a second time
          @ -chardev socket,id=c,path=/x,server=on,wait=off | not to be found
          @ -chardev pipe,id=c,path=/x | two QEMUs
          @ -serial /dev/ttyS0 | two QEMUs
          @ -snapshot | without a name
          @ -drive file=/a,snapshot=on | without a name
          @ -drive file=fat:/srv | poses as a disk
          @ -readconfig x.cfg | may have changed
          @ -spice port=1 | SPICE
          @ -tpmdev emulator,id=t,chardev=c | TPM
          @ -object input-linux,id=k,evdev=/dev/input/event0 | two QEMUs
          @ -usbdevice braille | had twice
          @ -frobnicate x | does not know
          @ -device {"driver": | parse
          """)
  @Promise("adoption")
  void whatCannotFollowIsNamed(String line, String why) {
    Reconstruction made = of(line.replace("@", SHARED));
    assertThat(made.obstacles()).as(line).isNotEmpty();
    if (!why.equals("parse")) {
      assertThat(made.obstacles()).extracting(Obstacle::why).anyMatch(w -> w.contains(why));
    }
    assertThat(made.obstacles()).allSatisfy(o -> assertThat(o.advice()).isNotBlank());
  }

  @Test
  @Promise("adoption")
  void everythingInTheWayIsNamedAtOnce() {
    assertThat(
            of("-m 1G -snapshot -netdev tap,id=n -device vfio-pci,host=1 -spice port=1")
                .obstacles())
        .hasSize(5);
  }

  @Test
  void displaysAndTheirLikeAreLosses() {
    Reconstruction made =
        of(SHARED + " -vnc :1 -gdb tcp::1234 -pidfile p -D log -runas nobody -audiodev pa,id=a");
    assertThat(made.obstacles()).isEmpty();
    assertThat(made.firstLosses()).hasSize(6);
    assertThat(made.arguments())
        .containsSubsequence("-display", "none")
        .doesNotContain("-vnc", "-gdb", "-pidfile", "-runas");
  }

  @Test
  void aCommandLineThatIsCutOff() {
    assertThatThrownBy(() -> QemuCommand.parse(List.of("qemu", "-m")))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("-m");
    assertThatThrownBy(() -> QemuCommand.parse(List.of()))
        .isInstanceOf(IllegalArgumentException.class);
  }

  /** Damage is named or harmless; it never makes the reconstruction fail in another way. */
  @Test
  @Promise("adoption")
  void damagedCommandLines() {
    long seed = Long.getLong("holdfast.seed", System.nanoTime());
    Random random = new Random(seed);
    for (int round = 0; round < 3000; round++) {
      List<String> words = new ArrayList<>(LIBVIRT);
      for (int i = 1 + random.nextInt(4); i > 0; i--) {
        damage(words, random);
      }
      try {
        Reconstruction made = of(words, Map.of(0L, List.of(8)), Map.of());
        assertThat(made.obstacles()).allSatisfy(o -> assertThat(o.why()).isNotBlank());
      } catch (IllegalArgumentException e) {
        assertThat(e).as("seed %d: %s", seed, words).hasMessageContaining("option");
      } catch (RuntimeException e) {
        throw new AssertionError("seed " + seed + ": " + words, e);
      }
    }
  }

  private static void damage(List<String> words, Random random) {
    int at = 1 + random.nextInt(words.size() - 1);
    String word = words.get(at);
    int place = random.nextInt(word.length() + 1);
    switch (random.nextInt(4)) {
      case 0 -> {
        String _ = words.remove(at);
      }
      case 1 -> words.set(at, word.substring(0, place));
      case 2 -> words.add(at, "-" + word.substring(place));
      default ->
          words.set(
              at,
              word.substring(0, place) + (char) (32 + random.nextInt(95)) + word.substring(place));
    }
  }
}
