package io.holdfast.vm.spec;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import io.holdfast.vm.spec.CommandLine.Start;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class CommandLineTest {
  private static List<String> line(Start start) {
    CommandLine.Machine machine =
        new CommandLine.Machine("web", "pc-q35-7.2", "tcg", "qemu64", 1, 64 << 20);
    VmSpec spec =
        new VmSpec(
            machine.name(),
            machine.memory(),
            machine.cpus(),
            machine.type(),
            machine.cpu(),
            machine.accelerator(),
            "",
            List.of(),
            CommandLine.template(
                machine,
                new CommandLine.Boot(false, false, Optional.empty()),
                List.of(),
                List.of("-uuid", "a,prealloc=on")),
            Optional.empty());
    return CommandLine.of("qemu", spec, Map.of(CommandLine.QMP, 3, CommandLine.RAM, 4), start);
  }

  @Test
  @Promise("guest-memory")
  void aGuestThatStandsStillDoesNotWaitForItsMemoryToBeMapped() {
    String ram = "memory-backend-file,id=ram0,size=67108864,mem-path=/proc/self/fd/4,share=on";
    assertThat(line(Start.BOOT)).contains(ram + ",prealloc=on").doesNotContain("-incoming");
    assertThat(line(Start.SUCCEED)).contains(ram + ",prealloc=on").contains("-incoming", "-S");
    assertThat(line(Start.SUCCEED_LATE))
        .contains(ram)
        .contains("-incoming", "-S")
        .as("no argument of somebody else's")
        .contains("a,prealloc=on");
  }
}
