package io.holdfast.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.holdfast.cli.NetOption.Forward;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class NetOptionTest {
  @Test
  void readsATap() {
    assertThat(NetOption.parse("tap,bridge=br0"))
        .isEqualTo(
            new NetOption(
                "tap", Optional.empty(), Optional.of("br0"), OptionalLong.empty(), List.of()));
    assertThat(NetOption.parse("tap,queues=4,mac=52:54:00:12:34:56,bridge=br0"))
        .isEqualTo(
            new NetOption(
                "tap",
                Optional.of("52:54:00:12:34:56"),
                Optional.of("br0"),
                OptionalLong.of(4),
                List.of()));
  }

  @Test
  void readsAUserNetwork() {
    assertThat(NetOption.parse("user"))
        .isEqualTo(
            new NetOption(
                "user", Optional.empty(), Optional.empty(), OptionalLong.empty(), List.of()));
    assertThat(NetOption.parse("user,hostfwd=tcp::8080-:80,hostfwd=tcp:127.0.0.1:2222-:22"))
        .isEqualTo(
            new NetOption(
                "user",
                Optional.empty(),
                Optional.empty(),
                OptionalLong.empty(),
                List.of(
                    new Forward(Optional.empty(), 8080, 80),
                    new Forward(Optional.of("127.0.0.1"), 2222, 22))));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "bridge=br0",
        "tap",
        "tap,bridge=",
        "tap,bridge=a,bridge=b",
        "tap,bridge=a,queues=0",
        "tap,bridge=a,queues=two",
        "tap,bridge=a,queues=1,queues=2",
        "tap,bridge=a,vhost=on",
        "tap,bridge=a,hostfwd=tcp::1-:2",
        "user,bridge=a",
        "user,queues=2",
        "user,mac=a,mac=b",
        "user,",
        "user,hostfwd=tcp:8080-:80",
        "user,hostfwd=tcp::8080-80",
        "user,hostfwd=tcp::-:80",
        "user,hostfwd=:8080-:80"
      })
  void refusesWhatItDoesNotKnow(String text) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> NetOption.parse(text))
        .withMessageContaining("'" + text + "'");
  }

  @Test
  void saysWhatToDoInPlaceOfUdp() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> NetOption.parse("user,hostfwd=udp::53-:53"))
        .withMessageContaining("only TCP, or a bridge (--net tap)");
  }
}
