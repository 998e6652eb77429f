package io.holdfast.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.agent.rescue.Rescue;
import io.holdfast.agent.rescue.Rescue.Place;
import io.holdfast.agent.rescue.Rescue.Sessions;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.Json;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;

@Promise("kernel-arrival")
class RescueRenderTest {
  private static Rescue found(
      Sessions sessions, Optional<Rescue.Agent> agent, Rescue.Box... boxes) {
    return new Rescue(
        sessions,
        "so says the kernel",
        Path.of("/run/holdfast"),
        Path.of("/"),
        agent,
        List.of(boxes),
        List.of(),
        List.of(),
        List.of(),
        List.of());
  }

  private static Rescue.Box box(Place place) {
    return new Rescue.Box("web", OptionalLong.of(64 << 20), place, "somewhere", List.of());
  }

  private static Optional<Rescue.Agent> agent() {
    return Optional.of(new Rescue.Agent(OptionalInt.of(7), Optional.of(List.of())));
  }

  @Test
  void showsWhatWaitsWhatIsMissingAndWhatToDo() {
    Rescue found =
        new Rescue(
            Sessions.RETRIEVED,
            "an agent retrieved them",
            Path.of("/run/holdfast"),
            Path.of("/"),
            Optional.empty(),
            List.of(
                new Rescue.Box(
                    "web",
                    OptionalLong.of(64 << 20),
                    Place.STORED,
                    "its memory is stored by process 812",
                    List.of("QEMU /q does not exist")),
                new Rescue.Box(
                    "@box/cache", OptionalLong.empty(), Place.KERNEL, "in the kernel", List.of())),
            List.of("/dev/liveupdate does not exist"),
            List.of("Some of it\u001b[31m"),
            List.of("Mend it", "Look again"),
            List.of("Do not reboot"));
    assertThat(RescueRender.text(found))
        .isEqualTo(
            """
            VMs wait to be brought back.
            Sessions of the previous kernel: retrieved; an agent retrieved them

            NAME        MEMORY  WHERE
            web         64 MiB  its memory is stored by process 812
            @box/cache       -  in the kernel

            Missing here:
            - /dev/liveupdate does not exist
            - web: QEMU /q does not exist

            Not known:
            - Some of it?[31m

            Next steps:
            1. Mend it
            2. Look again

            Until then:
            - Do not reboot
            """);
    assertThat(RescueCommand.exit(found)).isEqualTo(Exit.REFUSED);
    assertThat(RescueRender.json(found))
        .isEqualTo(
            Json.parse(
                """
                {"waits":true,"sessions":"retrieved","evidence":"an agent retrieved them",
                 "runDirectory":"/run/holdfast","root":"/",
                 "boxes":[{"name":"web","bytes":67108864,"place":"stored",
                           "where":"its memory is stored by process 812",
                           "missing":["QEMU /q does not exist"]},
                          {"name":"@box/cache","place":"kernel","where":"in the kernel","missing":[]}],
                 "missing":["/dev/liveupdate does not exist"],"unknown":["Some of it\\u001b[31m"],
                 "steps":["Mend it","Look again"],"warnings":["Do not reboot"]}
                """));
  }

  @Test
  void saysWhetherSomethingWaits() {
    assertThat(RescueRender.text(found(Sessions.NONE, Optional.empty())))
        .startsWith("Nothing waits.\n");
    assertThat(RescueRender.text(found(Sessions.UNKNOWN, Optional.empty())))
        .startsWith("VMs may wait in this kernel.\n");
    assertThat(RescueRender.text(found(Sessions.NONE, agent(), box(Place.SERVED))))
        .startsWith("Nothing waits: an agent has all VMs.\n");
    assertThat(RescueRender.text(found(Sessions.LOST, Optional.empty())))
        .startsWith("Nothing waits, and something is lost.\n");
  }

  @Test
  void exitsByWhatWaits() {
    assertThat(RescueCommand.exit(found(Sessions.NONE, Optional.empty()))).isEqualTo(Exit.OK);
    assertThat(RescueCommand.exit(found(Sessions.NONE, agent(), box(Place.SERVED))))
        .isEqualTo(Exit.OK);
    assertThat(RescueCommand.exit(found(Sessions.UNKNOWN, Optional.empty())))
        .isEqualTo(Exit.REFUSED);
    assertThat(RescueCommand.exit(found(Sessions.WAITING, Optional.empty())))
        .isEqualTo(Exit.REFUSED);
    assertThat(RescueCommand.exit(found(Sessions.NONE, agent(), box(Place.NOT_BACK))))
        .isEqualTo(Exit.REFUSED);
    assertThat(RescueCommand.exit(found(Sessions.RETRIEVED, Optional.empty())))
        .isEqualTo(Exit.REFUSED);
    assertThat(RescueCommand.exit(found(Sessions.RETRIEVED, agent(), box(Place.SERVED))))
        .isEqualTo(Exit.OK);
    assertThat(RescueCommand.exit(found(Sessions.LOST, Optional.empty()))).isEqualTo(Exit.FAILED);
    assertThat(RescueCommand.exit(found(Sessions.NONE, Optional.empty(), box(Place.NOT_FOUND))))
        .isEqualTo(Exit.FAILED);
  }
}
