package io.holdfast.testbed;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Trouble is told from a console's lines, and nothing else is. */
class ConsoleWatchTest {
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "PANIC   | [    1.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
        "OOPS    | [    1.2] BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "OOPS    | [    1.2] Oops: Oops: 0002 [#1] SMP NOPTI",
        "OOPS    | [    1.2] kernel BUG at mm/memory.c:123!",
        "OOPS    | [    1.2] Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
        "WARN    | [    1.2] WARNING: mm/page_alloc.c:123 at __free_pages+0x10/0x20, CPU#0: java/123",
        "WARN    | [    1.2] ------------[ cut here ]------------",
        "LOCKDEP | [    1.2] WARNING: possible circular locking dependency detected",
        "LOCKDEP | [    1.2] WARNING: lock held when returning to user space!",
        "LOCKDEP | [    1.2] BUG: sleeping function called from invalid context at kernel/locking/mutex.c:1",
        "LOCKDEP | [    1.2] BUG: scheduling while atomic: java/51/0x00000002",
        "HANG    | [   60.2] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [cat:42]",
        "HANG    | [   60.2] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "HANG    | [  130.2] INFO: task java:1 blocked for more than 120 seconds.",
      })
  @Promise("proofs")
  void tellsTrouble(Trouble.Kind kind, String line) {
    assertThat(ConsoleWatch.tell(line)).contains(new Trouble(kind, line));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "[    0.0] Linux version 7.3.4-holdfast (holdfast@testbed)",
        "[    0.0] Command line: console=ttyS0 panic=-1 oops=panic",
        "[    0.1] KHO: found kexec handover data.",
        "[    0.1] Spectre V2 : WARN about nothing",
        "WARNING from a program of user space",
        "debug: a BUG was fixed",
      })
  @Promise("proofs")
  void otherLinesAreNone(String line) {
    assertThat(ConsoleWatch.tell(line)).isEmpty();
  }

  @Test
  void theFirstCountsButNotTheLineThatOnlyAnnouncesIt() {
    ConsoleWatch watch = new ConsoleWatch();
    List.of(
            "[1] ------------[ cut here ]------------",
            "[1] WARNING: a.c:1 at f+0x1/0x2, CPU#0: x/1",
            "[1] ordinary",
            "[2] Oops: Oops: 0002 [#1] SMP",
            "[2] Kernel panic - not syncing: Fatal exception")
        .forEach(watch::line);
    assertThat(watch.first().orElseThrow())
        .isEqualTo(new Trouble(Trouble.Kind.WARN, "[1] WARNING: a.c:1 at f+0x1/0x2, CPU#0: x/1"));
  }
}
