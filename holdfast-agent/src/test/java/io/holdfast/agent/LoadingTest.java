package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.module.ModuleDescriptor;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

class LoadingTest {
  @Test
  void allModulesAreLoadedThatTheAgentIsMadeOf() {
    Set<String> needed = new TreeSet<>();
    collect(Agent.class.getModule(), needed);
    assertThat(needed).as("read from the modules' descriptors").hasSizeGreaterThan(5);
    assertThat(
            Loading.OF_EACH_MODULE.stream()
                .map(each -> each.getModule().getName())
                .collect(Collectors.toSet()))
        .isEqualTo(needed);
  }

  private static void collect(Module module, Set<String> needed) {
    if (needed.add(module.getName())) {
      for (ModuleDescriptor.Requires each : module.getDescriptor().requires()) {
        if (each.name().startsWith("io.holdfast.")) {
          collect(module.getLayer().findModule(each.name()).orElseThrow(), needed);
        }
      }
    }
  }
}
