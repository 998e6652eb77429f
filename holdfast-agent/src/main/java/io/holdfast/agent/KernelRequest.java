package io.holdfast.agent;

import io.holdfast.kexec.depart.NextKernel;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.update.GuestClock;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.Set;

/** Reads what is asked of an update of the kernel. */
final class KernelRequest {
  private KernelRequest() {}

  static KernelUpdates.Wanted of(JsonObject asked) {
    Path image = file("kernel", asked.string("kernel"));
    Optional<Path> initrd = asked.optionalString("initrd").map(path -> file("initrd", path));
    String commandLine = asked.optionalString("commandLine").orElseGet(KernelRequest::running);
    GuestClock.Choice clock = Updates.clock(asked);
    return new KernelUpdates.Wanted(
        new NextKernel(
            image,
            initrd,
            commandLine,
            asked.optionalString("from").map(path -> file("from", path)),
            asked
                .optionalArray("sessions")
                .map(JsonArray::strings)
                .map(Set::copyOf)
                .orElse(Set.of())),
        clock,
        asked.optionalBool("dryRun").orElse(false));
  }

  private static Path file(String field, String path) {
    Path file = Path.of(path);
    String wrong = "";
    if (!file.isAbsolute()) {
      wrong = "the agent works in another directory; give the whole path";
    } else if (!Files.exists(file)) {
      wrong = "there is no such file";
    } else if (!Files.isRegularFile(file)) {
      wrong = "it is no file";
    }
    if (!wrong.isEmpty()) {
      throw new VarlinkError(
          "io.holdfast.Update.NotPossible",
          JsonObject.of("message", field + " " + path + ": " + wrong));
    }
    return file;
  }

  /** What this kernel was booted with. */
  private static String running() {
    try {
      return Files.readString(Path.of("/proc/cmdline")).strip();
    } catch (IOException e) {
      throw Vms.notPossible("the running kernel's command line: " + e.getMessage());
    }
  }
}
