package io.holdfast.agent;

import io.holdfast.core.run.Orchestrator;
import io.holdfast.fdt.FdtBlob;
import io.holdfast.kexec.depart.Departure;
import io.holdfast.kho.image.KernelImage;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.store.DescriptorStore;
import io.holdfast.varlink.VarlinkServer;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.vm.Vm;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.CodeSource;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * Loads what an agent may need when it has no descriptor left to read it with. A class that can't
 * be read then is never resolved again where it was needed (JVMS 5.4.3): the NoClassDefFoundError
 * would stay until the agent is replaced.
 */
final class Loading {
  private static final LateLogger LOG = new LateLogger(Loading.class);
  private static final String CLASS = ".class";

  /** A class of each of Holdfast's modules that the agent is made of. */
  static final List<Class<?>> OF_EACH_MODULE =
      List.of(
          Agent.class,
          Vm.class,
          Departure.class,
          DescriptorStore.class,
          Orchestrator.class,
          Linux.class,
          VarlinkServer.class,
          KernelImage.class,
          FdtBlob.class);

  private Loading() {}

  /**
   * Loads all of Holdfast's classes, and what the JDK reads from files at its first use: the
   * configuration of loggers and of digests, and time zones.
   *
   * @param said is logged at the end, as nothing less loads all that a logger needs
   */
  static void load(String said) {
    try {
      var _ = MessageDigest.getInstance("SHA-256");
      var _ = Json.parse("{");
    } catch (JsonException | NoSuchAlgorithmException e) {
      LOG.get().log(System.Logger.Level.DEBUG, "what bad JSON needs is loaded", e);
    }
    for (Class<?> each : OF_EACH_MODULE) {
      try {
        for (String name : classes(each)) {
          var _ = Class.forName(name, false, each.getClassLoader());
        }
      } catch (IOException | URISyntaxException | ClassNotFoundException | LinkageError e) {
        LOG.get()
            .log(
                System.Logger.Level.WARNING,
                "cannot load all classes of " + each.getModule() + " before they are needed",
                e);
      }
    }
    LOG.get().log(System.Logger.Level.INFO, said);
  }

  /** The names of the classes that are where this one is. */
  private static List<String> classes(Class<?> one) throws IOException, URISyntaxException {
    Optional<CodeSource> source = Optional.ofNullable(one.getProtectionDomain().getCodeSource());
    if (source.isEmpty()) {
      // In the runtime's own image, which is mapped.
      return List.of();
    }
    Path place = Path.of(source.get().getLocation().toURI());
    if (Files.isDirectory(place)) {
      try (Stream<Path> all = Files.walk(place)) {
        return names(all.map(file -> place.relativize(file).toString()));
      }
    }
    try (ZipFile jar = new ZipFile(place.toFile())) {
      return names(jar.stream().map(ZipEntry::getName));
    }
  }

  private static List<String> names(Stream<String> files) {
    return files
        .filter(file -> file.endsWith(CLASS) && !file.endsWith("-info" + CLASS))
        .map(file -> file.substring(0, file.length() - CLASS.length()).replace('/', '.'))
        .toList();
  }
}
