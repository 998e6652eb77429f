package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.module.ModuleDescriptor;
import java.lang.module.ModuleFinder;
import java.lang.module.ModuleReference;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

class LoadingTest {
  @Test
  void allModulesAreLoadedThatTheAgentIsMadeOf() throws URISyntaxException {
    Set<String> loaded = new TreeSet<>();
    Set<String> needed = new TreeSet<>(Set.of("io.holdfast.agent"));
    for (Class<?> each : Loading.OF_EACH_MODULE) {
      Path place = Path.of(each.getProtectionDomain().getCodeSource().getLocation().toURI());
      for (ModuleReference module : ModuleFinder.of(place).findAll()) {
        assertThat(loaded.add(module.descriptor().name())).as("%s, twice", each).isTrue();
        module.descriptor().requires().stream()
            .map(ModuleDescriptor.Requires::name)
            .filter(name -> name.startsWith("io.holdfast."))
            .forEach(needed::add);
      }
    }
    assertThat(loaded).isEqualTo(needed);
  }
}
