/**
 * The orchestrators of an update and its timeline: every rule of a live update, and no system call.
 *
 * <h2>The life of an update</h2>
 *
 * <pre>{@code
 * NORMAL -> PREPARING -> PREPARED -> FREEZING -> FROZEN -> HANDED_OVER => RESTORING -> RESTORED -> COMMITTED -> RESUMED -> NORMAL
 *  plan      prepare                  freeze      handOver                restore                  fence        resume, finish
 * }</pre>
 *
 * An {@link io.holdfast.core.run.Orchestrator} calls every {@link
 * io.holdfast.core.participant.Participant} as the second line says: on exec in one agent, on kexec
 * up to FROZEN on the old kernel and from HANDED_OVER on the new one. The workload is paused from
 * FREEZING until {@code resume} returns.
 *
 * <p>A new update is an {@link io.holdfast.core.run.ExecUpdate} or a {@link
 * io.holdfast.core.run.KexecDeparture}; what goes on with one is, by its journal, an {@link
 * io.holdfast.core.run.ExecRecovery}, a {@link io.holdfast.core.run.KexecUndo} or a {@link
 * io.holdfast.core.run.KexecArrival}.
 *
 * <h2>When it goes wrong</h2>
 *
 * <ul>
 *   <li><b>A plan names an obstacle</b>, or the journal can't be begun: nothing is changed. {@link
 *       io.holdfast.core.run.Outcome.Refused}.
 *   <li><b>A call fails or misses its deadline, or a user cancels, before COMMITTED</b>: running
 *       calls are interrupted, CANCELLING is journalled, every participant whose {@code prepare}
 *       began gets {@code cancel}, those that depend on others first, even if one of them fails;
 *       the workload runs on the predecessor. {@link io.holdfast.core.run.Outcome.Cancelled}.
 *   <li><b>A {@code cancel} fails</b>: the update stays in CANCELLING. {@link
 *       io.holdfast.core.run.Outcome.Stuck}; a recovery calls {@code cancel} again, of those
 *       participants only whose call failed.
 *   <li><b>A call fails after COMMITTED</b>: the successor may have run, so there is only forward.
 *       {@link io.holdfast.core.run.Outcome.Stuck}; a recovery tries again from where the journal
 *       stands.
 *   <li><b>The commit itself can't be journalled</b>: cancelled, if CANCELLING can be journalled
 *       after it. If that fails too, nobody knows which of them a recovery would read, so nothing
 *       runs: Stuck.
 *   <li><b>The agent dies</b>: its successor reads the {@link io.holdfast.core.journal.Journal} and
 *       recovers the update. Not committed: cancel. COMMITTED: fence again, restore whatever died,
 *       resume, finish. RESUMED: fence again, resume, finish, but restore nothing, for the
 *       successor may have run since (on kexec each participant sees by itself whether it has). A
 *       last line of the journal that the crash cut off never took effect; any other damage is
 *       refused.
 *   <li><b>A call ignores its interrupt</b>: the update waits for it, because nobody can undo what
 *       still goes on.
 * </ul>
 */
@NullMarked
package io.holdfast.core.run;

import org.jspecify.annotations.NullMarked;
