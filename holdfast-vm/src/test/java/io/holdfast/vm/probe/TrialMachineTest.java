package io.holdfast.vm.probe;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.promise.Promise;
import io.holdfast.vm.spec.CommandLine;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What of a VM's command line a machine that never ran gets. */
@Promise("qemu-pairs")
class TrialMachineTest {
  private static List<String> of(String... arguments) {
    List<String> machine =
        new ArrayList<>(TrialMachine.of(List.of(arguments), Map.of("d0", 4096L, "flash", 8192L)));
    // Every trial has these.
    assertThat(machine).endsWith("-display", "none", "-monitor", "none");
    return machine.subList(0, machine.size() - 4);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          -blockdev | driver=qcow2,node-name=d0,file.driver=file,file.filename=/disk | driver=null-co,node-name=d0,read-zeroes=on,size=4096
          -blockdev | driver=raw,node-name=d1,read-only=on,file=x | driver=null-co,node-name=d1,read-zeroes=on,size=1073741824,read-only=on
          -drive | file=/disk,id=d0,if=none,format=qcow2,cache=none | id=d0,if=none,format=raw,file.driver=null-co,file.read-zeroes=on,file.size=4096
          -drive | if=ide,media=cdrom,id=cd | id=cd,if=ide,media=cdrom
          -netdev | tap,id=n0,fds=4:5,vhost=on | hubport,hubid=1,id=n0
          -netdev | user,id=n0,hostfwd=tcp::2222-:22,net=10.0.0.0/8 | user,id=n0,net=10.0.0.0/8
          -chardev | socket,id=c0,path=/run/x,server=on,wait=off | null,id=c0
          -serial | pty | null
          -serial | chardev:c0 | chardev:c0
          -device | virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01,mq=on | virtio-net-pci,netdev=n0,mq=on
          -object | memory-backend-memfd,id=m,size=1G,hugetlb=on,prealloc=on | memory-backend-file,id=m,size=1G,mem-path=/proc/self/fd/${fd:ram},share=on
          -object | rng-random,id=r,filename=/dev/urandom | rng-random,id=r,filename=/dev/urandom
          -machine | pc-q35-7.2,memory-backend=m | pc-q35-7.2,memory-backend=m
          """)
  void takesNothingOfTheHost(String option, String value, String expected) {
    assertThat(of(option, value)).containsExactly(option, expected);
  }

  @Test
  void dropsWhatIsNoDevice() {
    assertThat(
            of(
                "-name",
                "web",
                "-S",
                "-kernel",
                "/k",
                "-initrd",
                "/i",
                "-append",
                "quiet",
                "-pidfile",
                "/p",
                "-vnc",
                ":1",
                "-daemonize",
                "-object",
                "secret,id=s,file=/f"))
        .isEmpty();
  }

  @Test
  void dropsTheControlSocket() {
    assertThat(
            of(
                "-chardev",
                "socket,id=qmp,fd=" + CommandLine.fd(CommandLine.QMP) + ",server=on,wait=off",
                "-mon",
                "chardev=qmp,mode=control"))
        .isEmpty();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          -device | vfio-pci,host=01:00.0,id=gpu | gpu
          -device | vhost-user-fs-pci,chardev=c,id=fs | fs
          -object | x-remote-object,id=o | x-remote-object
          -drive | if=pflash,id=other,file=/x | flash memory of unknown size
          -unheard-of | x | unheard-of
          """)
  void saysWhatCanNotBeTried(String option, String value, String says) {
    assertThatThrownBy(() -> of(option, value))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining(says);
  }

  @Test
  void keepsTheSizeOfFlashMemory() {
    assertThat(of("-drive", "if=pflash,id=flash,readonly=on,file=/x"))
        .containsExactly(
            "-drive",
            "id=flash,if=pflash,readonly=on,format=raw,file.driver=null-co,file.read-zeroes=on,"
                + "file.size=8192");
  }

  @Test
  void findsTheDescriptorsThatAreNeeded() {
    assertThat(TrialMachine.labels(List.of("-object", "x,path=/proc/self/fd/${fd:ram}", "${fd:a}")))
        .containsExactly("a", "ram");
  }
}
