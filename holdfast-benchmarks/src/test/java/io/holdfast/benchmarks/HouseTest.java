package io.holdfast.benchmarks;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * What may use what: the table in docs/design.md, section 3. The testbed, which lists its scenarios
 * and is used by them, is not held to it.
 */
class HouseTest {
  private static final JavaClasses HOUSE = house();

  /** The compiled main classes of the other modules, as they lie beside this one's. */
  private static JavaClasses house() {
    try (Stream<Path> modules = Files.list(Path.of("..").toAbsolutePath().normalize())) {
      List<Path> classes =
          modules
              .filter(module -> Files.exists(module.resolve("pom.xml"))) // not what is left of one
              .filter(module -> !module.endsWith("holdfast-testbed"))
              .map(module -> module.resolve("target/classes"))
              .filter(Files::isDirectory)
              .toList();
      return new ClassFileImporter().importPaths(classes);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void allModulesAreRead() {
    assertThat(HOUSE.size()).isGreaterThan(600);
    assertThat(HOUSE.contain(Statistics.class)).isTrue();
  }

  @Test
  void noPackagesUseEachOtherInCircles() {
    slices().matching("io.holdfast.(**)").should().beFreeOfCycles().check(HOUSE);
  }

  /** Module, and the packages that it does not use. */
  @ParameterizedTest(name = "{0}")
  @CsvSource({
    "linux, fdt kho core varlink store vm kexec agent cli benchmarks testbed",
    "fdt, linux kho core varlink store vm kexec agent cli benchmarks testbed",
    "kho, linux core varlink store vm kexec agent cli benchmarks testbed",
    "core, fdt kho varlink store vm kexec agent cli benchmarks testbed",
    "varlink, fdt kho core store vm kexec agent cli benchmarks testbed",
    "store, fdt kho core varlink vm kexec agent cli benchmarks testbed",
    "vm, fdt kho kexec agent cli benchmarks testbed",
    "kexec, varlink vm agent cli benchmarks testbed",
    "agent, cli benchmarks testbed",
    "cli, vm kexec benchmarks testbed"
  })
  void aModuleUsesOnlyThoseBelow(String module, String others) {
    String[] packages =
        Stream.of(others.split(" ", -1))
            .map(other -> "io.holdfast." + other + "..")
            .toArray(String[]::new);
    noClasses()
        .that()
        .resideInAPackage("io.holdfast." + module + "..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(packages)
        .check(HOUSE);
  }
}
