package io.holdfast.vm.probe;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.vm.probe.Trials.Outcome;
import io.holdfast.vm.qemu.Correction;
import io.holdfast.vm.qemu.QemuUnusableException;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Trials between real QEMUs, and between a real one and one that a wrapper made different. */
@Promise("qemu-pairs")
class TrialsTest {
  private static final long GIB = 1L << 30;

  @TempDir private Path directory;

  private final Linux linux = Linux.system();
  private String qemu = "";
  private String cpu = "";
  private Optional<Trials> trials = Optional.empty();

  @BeforeEach
  void findQemu() throws IOException {
    qemu = System.getenv().getOrDefault("HOLDFAST_QEMU", "");
    assumeTrue(!qemu.isEmpty(), "no QEMU: HOLDFAST_QEMU names none");
    QemuProbe probe = new QemuProbe(linux, directory);
    cpu = probe.expand(probe.binary(qemu), "Nehalem", "tcg");
    trials = Optional.of(probe.trials());
  }

  private static String other() {
    String other = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
    assumeTrue(!other.isEmpty(), "no second QEMU: HOLDFAST_QEMU_OTHER names none");
    return other;
  }

  /**
   * A QEMU whose rings are as long as its devices are told: Debian 13's 10.0.13 has 1024 entries
   * whatever it is told.
   */
  private String tellable() throws QemuUnusableException {
    boolean fixed = new QemuProbe(linux, directory).binary(qemu).version().equals("10.0.13");
    return fixed ? other() : qemu;
  }

  /** A machine with each kind of device, as a template of Holdfast's has it. */
  private VmSpec spec(long memory, String... more) {
    List<String> arguments =
        new ArrayList<>(
            List.of("-name guest=web -nodefaults -no-user-config -display none".split(" ")));
    arguments.addAll(
        List.of(
            "-machine",
            "pc-q35-7.2,memory-backend=ram0,usb=off,vmport=off",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            cpu,
            "-smp",
            "2",
            "-m",
            "size=" + memory / 1024 + "k",
            "-object",
            "memory-backend-file,id=ram0,size=%d,mem-path=%s,share=on,prealloc=on"
                .formatted(memory, CommandLine.path(CommandLine.RAM)),
            "-chardev",
            "socket,id=qmp,fd=" + CommandLine.fd(CommandLine.QMP) + ",server=on,wait=off",
            "-mon",
            "chardev=qmp,mode=control",
            "-blockdev",
            "driver=qcow2,node-name=disk0,file.driver=file,file.filename=/nowhere/disk.qcow2",
            "-device",
            "virtio-blk-pci,id=disk0,drive=disk0,bus=pcie.0,addr=04.0",
            "-netdev",
            "tap,id=net0,ifname=nowhere0,script=no",
            "-device",
            "virtio-net-pci,id=net0,netdev=net0,mac=52:54:00:12:34:56,bus=pcie.0,addr=05.0",
            "-object",
            "rng-random,id=rng0,filename=/dev/urandom",
            "-device",
            "virtio-rng-pci,id=rng0,rng=rng0,bus=pcie.0,addr=06.0",
            "-device",
            "virtio-balloon-pci,id=balloon0,bus=pcie.0,addr=07.0"));
    arguments.addAll(List.of(more));
    return new VmSpec(
        "web",
        memory,
        2,
        "pc-q35-7.2",
        "qemu64",
        "tcg",
        "",
        List.of(),
        arguments,
        Optional.empty());
  }

  private Outcome of(String from, String to, VmSpec spec) {
    return trials.orElseThrow().of(from, to, spec, Map.of(), Map.of("disk0", GIB));
  }

  private static Outcome.Passed passed(Outcome outcome) {
    assertThat(outcome).isInstanceOf(Outcome.Passed.class);
    return (Outcome.Passed) outcome;
  }

  private static String failed(Outcome outcome) {
    assertThat(outcome).isInstanceOf(Outcome.Failed.class);
    return ((Outcome.Failed) outcome).why();
  }

  private String script(String name, String text) throws IOException {
    Path file = Files.writeString(directory.resolve(name), "#!/bin/sh\n" + text);
    Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwx------"));
    return file.toString();
  }

  /** The same QEMU, with each word of its command line changed by a sed program. */
  private String changed(String name, String sed) throws IOException {
    return script(
        name,
        """
        for word; do
          shift
          set -- "$@" "$(printf '%%s' "$word" | sed '%s')"
        done
        exec %s "$@"
        """
            .formatted(sed, qemu));
  }

  @Test
  void crossesBothWaysBetweenVersions() {
    String other = other();
    // Debian 13's QEMU 10.0.13 has rings that no other version can have.
    assumeFalse(
        of(qemu, other, spec(GIB)) instanceof Outcome.Failed(String why)
            && why.contains("rings of virtio-rng"),
        "these QEMUs have different devices");
    assertThat(passed(of(qemu, other, spec(GIB))).corrections()).isEmpty();
    assertThat(passed(of(other, qemu, spec(GIB))).corrections()).isEmpty();
  }

  @Test
  void needsNoMemoryForGuestRam() {
    // More than a test machine has: were it touched, the machine would be out of memory.
    assertThat(passed(of(qemu, qemu, spec(500 * GIB))).corrections()).isEmpty();
  }

  @Test
  void remembersWhatPassedByBinaryAndMachine() throws IOException {
    String counted =
        script("counted", "echo >>%s/starts\nexec %s \"$@\"\n".formatted(directory, qemu));
    Consumer<Long> starts =
        n ->
            assertThat(directory.resolve("starts"))
                .satisfies(f -> assertThat(Files.readString(f)).hasSize(n.intValue()));
    assertThat(passed(of(qemu, counted, spec(GIB))).cost()).isPositive();
    starts.accept(1L);
    assertThat(passed(of(qemu, counted, spec(GIB))).cost()).isEqualTo(Duration.ZERO);
    starts.accept(1L);
    var _ = passed(of(qemu, counted, spec(2 * GIB)));
    starts.accept(2L);
    // The same path, and another file.
    var _ = script("counted", "echo >>%s/starts\nexec %s  \"$@\"\n".formatted(directory, qemu));
    var _ = passed(of(qemu, counted, spec(GIB)));
    starts.accept(3L);
  }

  @Test
  void correctsRingsByTheDevicesProperty() throws IOException {
    qemu = tellable();
    String longer =
        script(
            "longer", "exec %s -global virtio-blk-device.queue-size=512 \"$@\"\n".formatted(qemu));
    List<Correction> found = passed(of(longer, qemu, spec(GIB))).corrections();
    assertThat(found)
        .singleElement()
        .satisfies(
            c ->
                assertThat(c.toString())
                    .isEqualTo(
                        "virtio-blk disk0 has rings of 2 × 512, which the successor gets by"
                            + " queue-size=512"));
  }

  @Test
  void refusesRingsThatNoPropertyCorrects() throws IOException {
    qemu = tellable();
    String stubborn = changed("stubborn", "s/^virtio-blk-pci.*/&,queue-size=64/");
    assertThat(failed(of(qemu, stubborn, spec(GIB))))
        .contains("rings of virtio-blk disk0", "2 × 256", "2 × 64");
  }

  /** Debian's 10.0.13 has send rings of 1024 entries, which no QEMU takes as a property. */
  @Test
  void namesTheRingsWhenTheSuccessorDoesNotTakeTheProperty() throws IOException {
    qemu = tellable();
    String longer =
        script(
            "longer", "exec %s -global virtio-blk-device.queue-size=512 \"$@\"\n".formatted(qemu));
    String picky =
        script(
            "picky",
            """
            case "$*" in *queue-size=512*) echo 'Invalid queue-size' >&2; exit 1 ;; esac
            exec %s "$@"
            """
                .formatted(qemu));
    assertThat(failed(of(longer, picky, spec(GIB))))
        .contains("rings of virtio-blk disk0 is 2 × 512, and 2 × 256 in the successor")
        .contains("does not come up with what would correct that", "Invalid queue-size");
  }

  @Test
  void refusesAFeatureThatIsMissing() throws IOException {
    String without = changed("without", "s/^virtio-blk-pci.*/&,event_idx=off/");
    assertThat(failed(of(qemu, without, spec(GIB))))
        .contains("feature event_idx of virtio-blk-device disk0");
  }

  @Test
  void refusesASectionThatTheNewQemuDoesNotKnow() throws IOException {
    String more = script("more", "exec %s -netdev user,id=more \"$@\"\n".formatted(qemu));
    assertThat(failed(of(more, qemu, spec(GIB)))).contains("slirp");
  }

  @Test
  void aQemuThatHangsIsNoVerdict() throws IOException {
    Outcome outcome = of(qemu, script("closed", "exit 3\n"), spec(GIB));
    assertThat(outcome).isInstanceOf(Outcome.Failed.class);
  }

  @Test
  void aDeviceOfTheHostIsNotTried() {
    assertThat(of(qemu, qemu, spec(GIB, "-device", "vfio-pci,host=0000:01:00.0,id=gpu")))
        .isInstanceOfSatisfying(
            Outcome.Untried.class, untried -> assertThat(untried.why()).contains("gpu"));
  }
}
