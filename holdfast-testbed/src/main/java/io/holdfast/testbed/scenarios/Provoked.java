package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Kernel;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.testbed.SkippedException;
import io.holdfast.testbed.Trouble;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.Optional;

/**
 * The testbed's test of itself: trouble that the kernel's own test module (lkdtm, {@code
 * Documentation/fault-injection/provoke-crashes.rst}) makes on demand must be noticed.
 */
@Promise("proofs")
public abstract class Provoked implements Scenario {
  private final Trouble.Kind kind;
  private final String crash;

  Provoked(Trouble.Kind kind, String crash) {
    this.kind = kind;
    this.crash = crash;
  }

  @Override
  public String name() {
    return "provoked-" + kind.name().toLowerCase(Locale.ROOT);
  }

  @Override
  public String title() {
    return "the testbed notices trouble that the kernel makes on demand: " + kind;
  }

  @Override
  public Optional<Trouble.Kind> provokes() {
    return Optional.of(kind);
  }

  @Override
  public void before(Inside in) throws IOException {
    Path provoke = Path.of("/sys/kernel/debug/provoke-crash/DIRECT");
    if (!Files.exists(provoke)) {
      throw new SkippedException("this kernel was built without CONFIG_LKDTM");
    }
    Files.writeString(provoke, crash);
  }

  /** The kernel gives up. */
  public static final class Panic extends Provoked {
    /** Makes it. */
    public Panic() {
      super(Trouble.Kind.PANIC, "PANIC");
    }
  }

  /** A null pointer. */
  public static final class Oops extends Provoked {
    /** Makes it. */
    public Oops() {
      super(Trouble.Kind.OOPS, "EXCEPTION");
    }
  }

  /** A warning, after which the kernel goes on. */
  public static final class Warn extends Provoked {
    /** Makes it. */
    public Warn() {
      super(Trouble.Kind.WARN, "WARNING");
    }
  }

  /** The only processor spins with interrupts off: the kernel says nothing. */
  public static final class Hang extends Provoked {
    /** Silence for a third of it is a hang. */
    private static final Duration LIMIT = Duration.ofSeconds(75);

    /** Makes it. */
    public Hang() {
      super(Trouble.Kind.HANG, "HARDLOCKUP");
    }

    @Override
    public Setup setup() {
      return Setup.standard().withCpus(1).withLimit(LIMIT);
    }
  }

  /** A lock that is not given back, on a kernel that watches locks. */
  public static final class Lockdep extends Provoked {
    /** Makes it. */
    public Lockdep() {
      super(Trouble.Kind.LOCKDEP, "SPINLOCKUP");
    }

    @Override
    public Setup setup() {
      return Setup.standard().withKernel(Kernel.Config.DEBUG);
    }
  }
}
