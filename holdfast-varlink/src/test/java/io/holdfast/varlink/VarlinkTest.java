package io.holdfast.varlink;

import static io.holdfast.varlink.TestService.LINUX;
import static io.holdfast.varlink.TestService.eventually;
import static io.holdfast.varlink.TestService.file;
import static io.holdfast.varlink.TestService.openDescriptors;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.FdPair;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SocketType;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixSocket;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Server and client over real sockets. */
@Timeout(60)
class VarlinkTest {
  /** Another one each night: tools/nightly. */
  private static final long FIRST_SEED = Long.getLong("holdfast.seed", 0);

  private static final String TEST = "org.example.test.";

  @TempDir Path directory;
  private Path path = Path.of("");
  private final TestService service = new TestService();
  private Optional<VarlinkServer> server = Optional.empty();

  @BeforeEach
  void listen() {
    path = directory.resolve("socket");
  }

  @AfterEach
  void close() {
    server.ifPresent(VarlinkServer::close);
  }

  private VarlinkServer start(VarlinkServer.Builder builder) {
    VarlinkServer started = builder.start(LINUX.listen(path, 64));
    server = Optional.of(started);
    return started;
  }

  private VarlinkClient started() {
    start(service.builder());
    return client();
  }

  private VarlinkClient client() {
    return VarlinkClient.connect(LINUX, path);
  }

  // ------------------------------------------------------------------------------------------
  // calls

  @Test
  void callsAreAnswered() {
    try (VarlinkClient client = started()) {
      assertThat(client.call(TEST + "Echo", JsonObject.of("text", "\0ü\n")))
          .isEqualTo(JsonObject.of("text", "\0ü\n"));
      assertThat(client.call(TEST + "Nothing", JsonObject.empty())).isEqualTo(JsonObject.empty());
    }
  }

  @Test
  @Promise("api")
  void theServiceDescribesItself() {
    try (VarlinkClient client = started()) {
      assertThat(client.call("org.varlink.service.GetInfo", JsonObject.empty()))
          .isEqualTo(
              JsonObject.of(
                  "vendor", "Example",
                  "product", "tests",
                  "version", "1.0",
                  "url", "https://example.org",
                  "interfaces", List.of("org.varlink.service", "org.example.test")));
      assertThat(describe(client, "org.example.test")).isEqualTo(TestService.DEFINITION);
      assertThat(VarlinkInterface.parse(describe(client, "org.varlink.service")).errors())
          .contains("PermissionDenied", "InvalidParameter");
      assertError(
          client,
          "org.varlink.service.GetInterfaceDescription",
          "{\"interface\":\"org.none\"}",
          "org.varlink.service.InterfaceNotFound",
          "{\"interface\":\"org.none\"}");
    }
  }

  private static String describe(VarlinkClient client, String name) {
    return client
        .call("org.varlink.service.GetInterfaceDescription", JsonObject.of("interface", name))
        .string("description");
  }

  private static void assertError(
      VarlinkClient client, String method, String parameters, String error, String details) {
    VarlinkException e =
        catchThrowableOfType(
            VarlinkException.class, () -> client.call(method, Json.parse(parameters)));
    assertThat(e).as(method + parameters).isNotNull();
    assertThat(e.error()).isEqualTo(error);
    assertThat(e.parameters()).isEqualTo(Json.parse(details));
    assertThat(e.method()).isEqualTo(method);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          org.example.test.None  | {}            | MethodNotFound    | {"method":"org.example.test.None"}
          None                   | {}            | MethodNotFound    | {"method":"None"}
          org.example.none.Echo  | {}            | InterfaceNotFound | {"interface":"org.example.none"}
          org.example.test.Echo  | {}            | InvalidParameter  | {"parameter":"text"}
          org.example.test.Echo  | {"text":1}    | InvalidParameter  | {"parameter":"text"}
          org.example.test.Echo  | {"text":null} | InvalidParameter  | {"parameter":"text"}
          org.example.test.Echo  | {"text":"","more":1} | InvalidParameter | {"parameter":"more"}
          org.example.test.Take  | {"descriptor":0}     | InvalidParameter | {"parameter":"descriptor"}
          org.example.test.Take  | {"descriptor":-1}    | InvalidParameter | {"parameter":"descriptor"}
          org.example.test.Files | {"descriptors":[0,""]} | InvalidParameter | {"parameter":"descriptors[1]"}
          org.example.test.Count | {"to":2}      | ExpectedMore      | {}
          """)
  void wrongCallsAreRefusedAndTheConnectionLivesOn(
      String method, String parameters, String error, String details) {
    try (VarlinkClient client = started()) {
      assertError(client, method, parameters, "org.varlink.service." + error, details);
      assertThat(client.call(TEST + "Echo", JsonObject.of("text", "a")).string("text"))
          .isEqualTo("a");
    }
  }

  @Test
  void aHandlersTroubleIsAnErrorReply() {
    try (VarlinkClient client = started()) {
      assertThatThrownBy(() -> client.call(TEST + "Fail", JsonObject.of("how", "typed")))
          .isInstanceOf(VarlinkException.class)
          .hasMessage("org.example.test.Fail: org.example.test.Refused: not today");
      String internal = "io.holdfast.InternalError";
      assertError(
          client,
          TEST + "Fail",
          "{\"how\":\"else\"}",
          internal,
          "{\"message\":\"the handler's own trouble\"}");
      assertError(
          client,
          TEST + "Fail",
          "{\"how\":\"bad reply\"}",
          internal,
          "{\"message\":\"the reply of org.example.test.Fail is not as its interface says: unknown\"}");
      assertThat(client.call(TEST + "Fail", JsonObject.of("how", "reply twice")))
          .as("a second reply is not sent")
          .isEqualTo(JsonObject.empty());
      assertThat(client.call(TEST + "Echo", JsonObject.of("text", "a")).string("text"))
          .as("and does not answer the next call")
          .isEqualTo("a");
    }
  }

  @Test
  void moreGivesSeveralReplies() {
    try (VarlinkClient client = started()) {
      List<Long> got = new ArrayList<>();
      List<Boolean> continues = new ArrayList<>();
      client.callMore(
          TEST + "Count",
          JsonObject.of("to", 3),
          List.of(),
          reply -> {
            got.add(reply.parameters().number("n"));
            continues.add(reply.continues());
          });
      assertThat(got).containsExactly(1L, 2L, 3L);
      assertThat(continues).containsExactly(true, true, false);
      List<JsonObject> one = new ArrayList<>();
      client.callMore(
          TEST + "Echo", JsonObject.of("text", "a"), List.of(), r -> one.add(r.parameters()));
      assertThat(one)
          .as("a method without more to say")
          .containsExactly(JsonObject.of("text", "a"));
    }
  }

  @Test
  void onewayIsNotAnsweredNotEvenWithAnError() {
    try (VarlinkClient client = started()) {
      client.callOneway(TEST + "Echo", JsonObject.of("text", "unheard"), List.of());
      client.callOneway(TEST + "Fail", JsonObject.of("how", "typed"), List.of());
      client.callOneway("org.none.None", JsonObject.empty(), List.of());
      assertThat(client.call(TEST + "Echo", JsonObject.of("text", "heard")).string("text"))
          .isEqualTo("heard");
    }
  }

  @Test
  void upgradeIsRefused() {
    start(service.builder());
    try (UnixSocket raw = LINUX.connect(path);
        Connection connection = new Connection(raw)) {
      raw.send(bytes("{\"method\":\"org.example.test.Nothing\",\"upgrade\":true}\0"));
      assertThat(connection.read().orElseThrow().json())
          .isEqualTo(
              Json.parse(
                  """
                  {"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"upgrade"}}
                  """));
    }
  }

  @Test
  void queuedCallsAreAnsweredInOrder() {
    start(service.builder());
    try (UnixSocket raw = LINUX.connect(path);
        Connection connection = new Connection(raw)) {
      ByteArrayOutputStream calls = new ByteArrayOutputStream();
      for (int i = 0; i < 200; i++) {
        calls.writeBytes(bytes(echo("n" + i) + "\0"));
      }
      raw.send(calls.toByteArray());
      for (int i = 0; i < 200; i++) {
        assertThat(connection.read().orElseThrow().json().object("parameters").string("text"))
            .isEqualTo("n" + i);
      }
    }
  }

  @Test
  void theLongestMessagesArrive() {
    try (VarlinkClient client = started()) {
      String text = "x".repeat(Json.MAX_BYTES - 100);
      assertThat(client.call(TEST + "Echo", JsonObject.of("text", text)).string("text"))
          .isEqualTo(text);
      assertThatIllegalArgumentException()
          .isThrownBy(
              () -> client.call(TEST + "Echo", JsonObject.of("text", text + "x".repeat(100))));
      assertThat(client.call(TEST + "Echo", JsonObject.of("text", "a")).string("text"))
          .isEqualTo("a");
    }
  }

  @Test
  void clientsAreServedAtTheSameTime() throws InterruptedException {
    start(service.builder());
    AtomicInteger right = new AtomicInteger();
    List<Thread> threads = new ArrayList<>();
    try (VarlinkClient shared = client()) {
      for (int t = 0; t < 6; t++) {
        int id = t;
        threads.add(
            Thread.ofPlatform()
                .start(
                    () -> {
                      try (VarlinkClient own = client()) {
                        for (int i = 0; i < 100; i++) {
                          String text = id + "/" + i;
                          VarlinkClient client = i % 2 == 0 ? own : shared;
                          if (client
                              .call(TEST + "Echo", JsonObject.of("text", text))
                              .string("text")
                              .equals(text)) {
                            right.incrementAndGet();
                          }
                        }
                      }
                    }));
      }
      for (Thread thread : threads) {
        thread.join();
      }
    }
    assertThat(right).hasValue(600);
  }

  // ------------------------------------------------------------------------------------
  // descriptors

  @Test
  @Promise("api")
  void descriptorsGoBothWays() {
    try (VarlinkClient client = started();
        Fd one = LINUX.memfd("one", 1);
        Fd two = LINUX.memfd("two", 2)) {
      assertThat(files(client, List.of(one, two), 1, 0)).containsExactly(file(two), file(one));
      assertThat(one.isOpen()).as("borrowed").isTrue();
      try (Reply reply = client.call(TEST + "Give", JsonObject.of("count", 3), List.of())) {
        assertThat(reply.descriptors().size()).isEqualTo(3);
        List<String> files = reply.parameters().array("files").strings();
        for (int i = 0; i < 3; i++) {
          assertThat(file(reply.descriptors().borrow(i))).isEqualTo(files.get(i));
          assertThat(LINUX.size(reply.descriptors().borrow(i))).isEqualTo(i);
        }
        Fd taken = reply.descriptors().take(1);
        reply.descriptors().close();
        assertThat(taken.isOpen()).isTrue();
        taken.close();
        assertThatIllegalStateException().isThrownBy(() -> reply.descriptors().take(1));
      }
    }
  }

  private static List<String> files(VarlinkClient client, List<Fd> fds, int... indices) {
    JsonObject parameters = JsonObject.of("descriptors", IntStream.of(indices).boxed().toList());
    try (Reply reply = client.call(TEST + "Files", parameters, fds)) {
      return reply.parameters().array("files").strings();
    }
  }

  @Test
  void aDescriptorIsTakenOnce() {
    try (VarlinkClient client = started();
        Fd one = LINUX.memfd("one", 1)) {
      try (Reply reply = client.call(TEST + "Take", JsonObject.of("descriptor", 0), List.of(one))) {
        assertThat(reply.parameters().string("file")).isEqualTo(file(one));
      }
      assertThatThrownBy(
              () ->
                  client.call(
                      TEST + "Take", JsonObject.of("descriptor", 0, "again", 0), List.of(one)))
          .hasMessageContaining("InvalidParameter {\"parameter\":\"again\"}");
    }
  }

  @Test
  void asManyDescriptorsAsTheKernelLetsThrough() {
    try (VarlinkClient client = started();
        Fd one = LINUX.memfd("one", 1)) {
      List<Fd> most = Collections.nCopies(UnixSocket.MOST_DESCRIPTORS, one);
      assertThat(files(client, most, 0, 252)).containsExactly(file(one), file(one));
      List<Fd> tooMany = Collections.nCopies(UnixSocket.MOST_DESCRIPTORS + 1, one);
      assertThatIllegalArgumentException().isThrownBy(() -> files(client, tooMany, 0));
      assertThat(files(client, List.of(one), 0)).hasSize(1);
    }
  }

  /**
   * Messages with and without descriptors, queued, cut and joined anywhere: each descriptor reaches
   * the message within whose bytes its sendmsg began.
   */
  @Test
  @Promise("api")
  void descriptorsStayWithTheirMessageHoweverTheStreamIsCut() throws InterruptedException {
    start(service.builder());
    for (long seed = FIRST_SEED; seed < FIRST_SEED + 150; seed++) {
      Random random = new Random(seed);
      List<Fd> all = new ArrayList<>();
      try (UnixSocket raw = LINUX.connect(path);
          Connection connection = new Connection(raw)) {
        ByteArrayOutputStream stream = new ByteArrayOutputStream();
        List<JsonObject> expected = new ArrayList<>();
        List<Integer> cuts = new ArrayList<>();
        List<List<Fd>> carried = new ArrayList<>();
        for (int m = 1 + random.nextInt(12); m > 0; m--) {
          int begin = stream.size();
          if (random.nextBoolean()) {
            String text = "x".repeat(random.nextInt(20) == 0 ? 200_000 : random.nextInt(30));
            stream.writeBytes(bytes(echo(text) + "\0"));
            expected.add(JsonObject.of("text", text));
          } else {
            List<Fd> fds = new ArrayList<>();
            List<Integer> indices = new ArrayList<>();
            List<String> files = new ArrayList<>();
            for (int f = 1 + random.nextInt(3); f > 0; f--) {
              fds.add(LINUX.memfd("f", 1));
              indices.add(indices.size());
              files.add(file(fds.getLast()));
            }
            all.addAll(fds);
            JsonObject call =
                JsonObject.of(
                    "method", TEST + "Files", "parameters", JsonObject.of("descriptors", indices));
            stream.writeBytes(bytes(call + "\0"));
            expected.add(JsonObject.of("files", files));
            // Mostly at the message's first byte, sometimes later, as late as its NUL.
            int length = stream.size() - begin;
            cuts.add(begin + (random.nextInt(3) > 0 ? 0 : random.nextInt(length)));
            carried.add(fds);
          }
        }
        boolean slow = random.nextInt(4) == 0;
        Thread sender =
            Thread.ofPlatform()
                .start(() -> send(raw, stream.toByteArray(), cuts, carried, random, slow));
        for (int i = 0; i < expected.size(); i++) {
          JsonObject reply = connection.read().orElseThrow().json();
          assertThat(reply)
              .as("seed %d, message %d", seed, i)
              .isEqualTo(JsonObject.of("parameters", expected.get(i)));
        }
        sender.join();
      } finally {
        all.forEach(Fd::close);
      }
    }
  }

  private static void send(
      UnixSocket raw,
      byte[] stream,
      List<Integer> cuts,
      List<List<Fd>> carried,
      Random random,
      boolean slow) {
    int at = 0;
    while (at < stream.length) {
      int which = cuts.indexOf(at);
      int from = at;
      int next = cuts.stream().filter(c -> c > from).findFirst().orElse(stream.length);
      int length = Math.min(next - at, 1 + random.nextInt(random.nextBoolean() ? 8 : 300_000));
      raw.send(stream, at, length, which < 0 ? List.of() : carried.get(which));
      at += length;
      if (slow) {
        LockSupport.parkNanos(200_000);
      }
    }
  }

  @Test
  @Promise("api")
  void aThousandCallsLeaveNoDescriptor() throws InterruptedException {
    start(service.builder());
    try (Fd fd = LINUX.memfd("one", 1)) {
      callALot(fd, 50);
      assertThat(eventually(() -> server.orElseThrow().connections() == 0)).isTrue();
      int before = openDescriptors();
      callALot(fd, 1000);
      assertThat(eventually(() -> openDescriptors() == before))
          .as("%d before, %d after", before, openDescriptors())
          .isTrue();
    }
  }

  private void callALot(Fd fd, int times) {
    for (int i = 0; i < times; ) {
      try (VarlinkClient client = client()) {
        for (int end = i + 10; i < end; i++) {
          List<Fd> three = List.of(fd, fd, fd);
          switch (i % 5) {
            case 0 -> assertThat(files(client, three, 2)).hasSize(1);
            case 1 -> client.call(TEST + "Take", JsonObject.of("descriptor", 1), three).close();
            case 2 -> client.call(TEST + "Give", JsonObject.of("count", 4));
            case 3 -> client.callOneway(TEST + "Nothing", JsonObject.empty(), three);
            default ->
                assertThatThrownBy(
                        () -> client.call(TEST + "Fail", JsonObject.of("how", "typed"), three))
                    .isInstanceOf(VarlinkException.class);
          }
        }
      }
    }
  }

  // ---------------------------------------------------------------------------- hostile, and
  // leaving

  @ParameterizedTest
  @ValueSource(
      strings = {
        "garbage\0",
        "\0",
        "[]\0",
        "1\0",
        "{}\0",
        "{\"method\":1}\0",
        "{\"method\":\"a.b.C\",\"parameters\":[]}\0",
        "{\"method\":\"a.b.C\",\"more\":\"yes\"}\0",
        "{\"method\":\"a.b.C\",\"more\":true,\"oneway\":true}\0",
        "{\"method\":\"a.b.C\",\"method\":\"a.b.D\"}\0",
        "{\"method\":\"a.b.C\"} {}\0",
        "{\"method\":\"a.b.C\"\0",
        "DEEP",
        "HUGE"
      })
  @Promise("api")
  void whoBreaksTheProtocolIsDisconnectedAndNobodyElse(String sent) throws InterruptedException {
    String text =
        switch (sent) {
          case "DEEP" -> "{\"method\":\"a.b.C\",\"parameters\":" + "[".repeat(100_000) + "\0";
          case "HUGE" -> "{\"method\":\"" + "x".repeat(Json.MAX_BYTES + 4096);
          default -> sent;
        };
    try (VarlinkClient other = started();
        Fd fd = LINUX.memfd("one", 1)) {
      other.call(TEST + "Nothing", JsonObject.empty());
      int before = openDescriptors();
      try (UnixSocket raw = LINUX.connect(path)) {
        byte[] bytes = bytes(text);
        try {
          raw.send(bytes, 0, bytes.length, List.of(fd));
        } catch (SystemCallException e) {
          assertThat(e.errno()).isEqualTo(Errno.EPIPE);
        }
        assertThat(ended(raw)).as("disconnected without an answer").isTrue();
      }
      assertThat(other.call(TEST + "Echo", JsonObject.of("text", "a")).string("text"))
          .isEqualTo("a");
      assertThat(eventually(() -> openDescriptors() == before)).isTrue();
    }
  }

  /** Whether the next thing to come is the end. */
  private static boolean ended(UnixSocket raw) {
    try {
      return raw.receive(new byte[1]).end();
    } catch (SystemCallException e) {
      return e.errno() == Errno.ECONNRESET;
    }
  }

  @Test
  void moreDescriptorsThanOneMessageMayHaveDisconnect() throws InterruptedException {
    start(service.builder());
    try (Fd fd = LINUX.memfd("one", 1)) {
      int before = openDescriptors();
      try (UnixSocket raw = LINUX.connect(path)) {
        List<Fd> many = Collections.nCopies(200, fd);
        raw.send(bytes("{"), 0, 1, many);
        raw.send(bytes(" "), 0, 1, many);
        assertThat(ended(raw)).isTrue();
      }
      assertThat(eventually(() -> openDescriptors() == before)).isTrue();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "{", "{\"method\":\"org.example.test.Nothing\"}"})
  @Promise("api")
  void whoLeavesWithinAMessageLeavesNothingBehind(String text) throws InterruptedException {
    VarlinkServer running = start(service.builder());
    try (Fd fd = LINUX.memfd("one", 1)) {
      int before = openDescriptors();
      try (UnixSocket raw = LINUX.connect(path)) {
        if (!text.isEmpty()) {
          raw.send(bytes(text), 0, text.length(), List.of(fd));
        }
        assertThat(eventually(() -> running.connections() == 1)).isTrue();
      }
      assertThat(eventually(() -> running.connections() == 0 && openDescriptors() == before))
          .isTrue();
    }
  }

  @Test
  void aHandlerHearsThatItsClientIsGone() throws InterruptedException {
    VarlinkServer running = start(service.builder());
    try (VarlinkClient client = client()) {
      assertThatThrownBy(
              () ->
                  client.callMore(
                      TEST + "Endless",
                      JsonObject.empty(),
                      List.of(),
                      reply -> {
                        throw new ArithmeticException("enough");
                      }))
          .isInstanceOf(ArithmeticException.class);
      assertThat(service.clientSeenGone.await(10, TimeUnit.SECONDS)).isTrue();
      assertThat(eventually(() -> running.connections() == 0)).isTrue();
      assertThatThrownBy(() -> client.call(TEST + "Nothing", JsonObject.empty()))
          .isInstanceOf(VarlinkConnectionException.class)
          .hasMessageContaining("was closed");
    }
  }

  // ----------------------------------------------------------------------------------- who may
  // call

  @Test
  @Promise("api")
  void whoMayNotCallIsTold() throws InterruptedException {
    List<Integer> asked = new CopyOnWriteArrayList<>();
    VarlinkServer running =
        start(
            service
                .builder()
                .allow(
                    peer -> {
                      asked.add(peer.pid());
                      return false;
                    }));
    try (VarlinkClient client = client();
        Fd fd = LINUX.memfd("one", 1)) {
      assertThatThrownBy(
              () -> client.call("org.varlink.service.GetInfo", JsonObject.empty(), List.of(fd)))
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("org.varlink.service.PermissionDenied");
      assertThatThrownBy(() -> client.call(TEST + "Nothing", JsonObject.empty()))
          .isInstanceOf(VarlinkConnectionException.class);
    }
    assertThat(asked).containsExactly((int) ProcessHandle.current().pid());
    assertThat(eventually(() -> running.connections() == 0)).isTrue();
    // They can't take the place of those who may: a few may wait, more are turned away.
    List<UnixSocket> idle = new ArrayList<>();
    try {
      for (int i = 0; i < 20; i++) {
        idle.add(LINUX.connect(path));
      }
      assertThat(eventually(() -> running.connections() == 8)).isTrue();
      assertThat(ended(idle.getLast())).isTrue();
    } finally {
      idle.forEach(UnixSocket::close);
    }
    assertThat(eventually(() -> running.connections() == 0)).isTrue();
    try (VarlinkClient client = client()) {
      assertThatThrownBy(() -> client.call(TEST + "Nothing", JsonObject.empty()))
          .isInstanceOf(VarlinkException.class);
    }
  }

  @Test
  void aHandlerKnowsWhoCalls() {
    try (VarlinkClient client = started()) {
      assertThat(client.call(TEST + "Who", JsonObject.empty()))
          .isEqualTo(
              JsonObject.of("pid", ProcessHandle.current().pid(), "uid", LINUX.effectiveUser()));
    }
  }

  /** A flood's own connections make room for it, and those of others for nobody else. */
  @Test
  @Promise("budgets")
  void aFloodOfIdleConnectionsIsNotNoticedByAnotherProcess()
      throws IOException, InterruptedException {
    int places = 8;
    VarlinkServer running = start(service.builder().mostConnections(places));
    try (UnixSocket partly = LINUX.connect(path);
        Other other = new Other()) {
      assertThat(other.who()).isNotEqualTo(ProcessHandle.current().pid());
      partly.send(bytes("{\"method\":"));
      List<UnixSocket> flood = new ArrayList<>();
      try {
        for (int i = 0; i < 100; i++) {
          flood.add(LINUX.connect(path));
          assertThat(running.connections()).isLessThanOrEqualTo(places);
        }
        // One process has at most half; it took the places of its own, first of the oldest.
        assertThat(eventually(() -> running.connections() == places / 2 + 1)).isTrue();
        assertThat(ended(partly)).isTrue();
        assertThat(ended(flood.getFirst())).isTrue();
        assertThat(other.who()).as("still connected").isNotZero();
        try (VarlinkClient own = client()) {
          own.call(TEST + "Nothing", JsonObject.empty());
        }
      } finally {
        flood.forEach(UnixSocket::close);
      }
    }
  }

  @Test
  @Promise("budgets")
  void aProcessWhoseConnectionsAllHaveCallsUnderWayGetsNoMore()
      throws IOException, InterruptedException {
    VarlinkServer running = start(service.builder().mostConnections(4));
    List<UnixSocket> calling = new ArrayList<>();
    try (Other other = new Other()) {
      for (int i = 0; i < 2; i++) {
        UnixSocket raw = LINUX.connect(path);
        calling.add(raw);
        raw.send(bytes(JsonObject.of("method", TEST + "Wait") + "\0"));
      }
      assertThat(service.waiting.await(10, TimeUnit.SECONDS)).isTrue();
      assertThat(eventually(() -> service.waits.get() == 2)).isTrue();
      try (VarlinkClient third = client()) {
        assertThatThrownBy(() -> third.call(TEST + "Nothing", JsonObject.empty()))
            .isInstanceOf(VarlinkConnectionException.class);
      }
      assertThat(other.who()).isNotZero();
      assertThat(running.connections()).isEqualTo(3);
    } finally {
      calling.forEach(UnixSocket::close);
    }
  }

  @Test
  @Promise("budgets")
  void whoSendsTooMuchIsDisconnectedAndNobodyElse() throws IOException, InterruptedException {
    start(service.builder().mostOfRequest(1 << 20, 2));
    try (VarlinkClient other = client();
        VarlinkClient most = client();
        Fd fd = LINUX.memfd("one", 1)) {
      other.call(TEST + "Nothing", JsonObject.empty());
      assertThat(most.call(TEST + "Echo", JsonObject.of("text", "x".repeat(1_000_000))))
          .isNotNull();
      assertThatThrownBy(() -> most.call(TEST + "Echo", JsonObject.of("text", "x".repeat(1 << 20))))
          .isInstanceOf(RuntimeException.class);
      int before = openDescriptors();
      try (VarlinkClient flood = client()) {
        assertThatThrownBy(() -> files(flood, List.of(fd, fd, fd), 0))
            .isInstanceOf(RuntimeException.class);
      }
      assertThat(eventually(() -> openDescriptors() == before)).isTrue();
      other.call(TEST + "Nothing", JsonObject.empty());
    }
  }

  /** A client in another process. */
  private final class Other implements AutoCloseable {
    private final Process process;

    Other() throws IOException {
      process =
          new ProcessBuilder(
                  System.getProperty("java.home") + "/bin/java",
                  "-XX:TieredStopAtLevel=1",
                  "-XX:+UseSerialGC",
                  "--enable-native-access=ALL-UNNAMED",
                  "-cp",
                  System.getProperty("java.class.path"),
                  OtherClient.class.getName(),
                  path.toString())
              .redirectError(ProcessBuilder.Redirect.INHERIT)
              .start();
    }

    /** Calls, and returns whom the service sees; 0 if the connection is gone. */
    long who() throws IOException {
      process.getOutputStream().write('\n');
      process.getOutputStream().flush();
      return Long.parseLong(process.inputReader().readLine());
    }

    @Override
    public void close() {
      process.destroyForcibly();
    }
  }

  // ------------------------------------------------------------------------------- the server's
  // life

  @Test
  void closingEndsConnectionsAndHandlers() throws InterruptedException {
    int before = openDescriptors();
    VarlinkServer running = start(service.builder());
    List<Throwable> outcome = new CopyOnWriteArrayList<>();
    try (VarlinkClient idle = client();
        VarlinkClient waiting = client()) {
      Thread caller =
          Thread.ofPlatform()
              .start(
                  () -> {
                    try {
                      waiting.call(TEST + "Wait", JsonObject.empty());
                    } catch (RuntimeException e) {
                      outcome.add(e);
                    }
                  });
      assertThat(service.waiting.await(10, TimeUnit.SECONDS)).isTrue();
      running.close();
      assertThat(service.waitEnded.await(0, TimeUnit.SECONDS)).isTrue();
      assertThat(running.connections()).isZero();
      caller.join();
      assertThat(outcome).hasSize(1).first().isInstanceOf(VarlinkConnectionException.class);
      assertThatThrownBy(() -> idle.call(TEST + "Nothing", JsonObject.empty()))
          .isInstanceOf(VarlinkConnectionException.class);
    }
    assertThatThrownBy(this::client)
        .isInstanceOf(VarlinkConnectionException.class)
        .hasMessageContaining("no service on " + path)
        .hasCauseInstanceOf(SystemCallException.class);
    assertThat(eventually(() -> openDescriptors() == before)).isTrue();
  }

  @Test
  void closingAClientEndsItsCall() throws InterruptedException {
    VarlinkClient client = started();
    List<Throwable> outcome = new CopyOnWriteArrayList<>();
    Thread caller =
        Thread.ofPlatform()
            .start(
                () -> {
                  try {
                    client.call(TEST + "Wait", JsonObject.empty());
                  } catch (RuntimeException e) {
                    outcome.add(e);
                  }
                });
    assertThat(service.waiting.await(10, TimeUnit.SECONDS)).isTrue();
    client.close();
    caller.join();
    assertThat(outcome).hasSize(1).first().isInstanceOf(VarlinkConnectionException.class);
  }

  @Test
  void aServerNeedsEveryHandler() {
    VarlinkInterface definition = VarlinkInterface.parse(TestService.DEFINITION);
    VarlinkServer.Builder builder = VarlinkServer.builder("a", "b", "c", "d").implement(definition);
    assertThatIllegalArgumentException().isThrownBy(() -> builder.implement(definition));
    assertThatIllegalArgumentException().isThrownBy(() -> builder.on(TEST + "None", call -> {}));
    builder.on(TEST + "Echo", call -> {});
    assertThatIllegalArgumentException().isThrownBy(() -> builder.on(TEST + "Echo", call -> {}));
    try (var listener = LINUX.listen(path, 1)) {
      assertThatIllegalStateException()
          .isThrownBy(() -> builder.start(listener))
          .withMessage("no handler for org.example.test.Count");
    }
  }

  @Test
  @Promise("api")
  void aFullDescriptorTableDelaysAConnectionAndLosesNone() {
    AtomicInteger refusals = new AtomicInteger(2);
    Linux refusing =
        new Linux(
            (call, a, b, c, d, e, f) ->
                call == Call.ACCEPT4 && refusals.getAndDecrement() > 0
                    ? -Errno.EMFILE.number()
                    : LINUX.kernel().call(call, a, b, c, d, e, f));
    server = Optional.of(service.builder().start(refusing.listen(path, 8)));
    try (VarlinkClient client = client()) {
      client.call(TEST + "Nothing", JsonObject.empty());
    }
    assertThat(refusals.get()).isNegative();
  }

  // ---------------------------------------------------------------------------- services that are
  // bad

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          garbage@                               | not JSON
          {"parameters":1}@                      | no reply
          {"error":5}@                           | no reply
          {"parameters":{},"continues":true}@    | more than the one reply
          {"parameters":                         | within a message
          ``                                     | without an answer
          """)
  void aBadServiceIsLeft(String answer, String message) throws InterruptedException {
    FdPair pair = LINUX.socketPair(SocketType.STREAM);
    try (UnixSocket other = LINUX.adopt(pair.right());
        VarlinkClient client = VarlinkClient.over(LINUX.adopt(pair.left()));
        Fd fd = LINUX.memfd("one", 1)) {
      byte[] bytes = bytes(answer.replace('@', '\0'));
      if (bytes.length > 0) {
        other.send(bytes, 0, bytes.length, List.of(fd));
      }
      int before = openDescriptors();
      Thread leaving =
          Thread.ofPlatform()
              .start(
                  () -> {
                    assertThat(other.receive(new byte[4096]).end()).isFalse();
                    other.shutdown();
                  });
      assertThatThrownBy(() -> client.call("a.b.C", JsonObject.empty()))
          .isInstanceOf(VarlinkConnectionException.class)
          .hasMessageContaining(message);
      leaving.join();
      assertThat(openDescriptors()).as("closed, with what came").isEqualTo(before - 1);
    }
  }

  // --------------------------------------------------------------------------------------
  // systemd's

  @Test
  @Promise("api")
  void systemdsClientUnderstandsThisServer() throws IOException, InterruptedException {
    int version = varlinkctlVersion();
    assumeTrue(
        version >= 256, "no varlinkctl of systemd 256 or newer here (found " + version + ")");
    start(service.builder());
    assertThat(run("varlinkctl", "info", path.toString())).contains("org.example.test");
    assertThat(run("varlinkctl", "introspect", path.toString(), "org.example.test"))
        .contains("method Echo");
    assertThat(
            run(
                "varlinkctl",
                "call",
                "--json=short",
                path.toString(),
                TEST + "Echo",
                "{\"text\":\"a\"}"))
        .contains("{\"text\":\"a\"}");
    assertThat(
            run(
                "varlinkctl",
                "call",
                "--more",
                "--json=short",
                path.toString(),
                TEST + "Count",
                "{\"to\":3}"))
        .contains("{\"n\":1}", "{\"n\":2}", "{\"n\":3}");
  }

  private static int varlinkctlVersion() throws IOException, InterruptedException {
    try {
      Matcher matcher = Pattern.compile("systemd (\\d+)").matcher(run("varlinkctl", "--version"));
      return matcher.find() ? Integer.parseInt(matcher.group(1)) : 0;
    } catch (IOException notThere) {
      return 0;
    }
  }

  private static String run(String... command) throws IOException, InterruptedException {
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor()).as(Arrays.toString(command) + "\n" + output).isZero();
    return output;
  }

  private static String echo(String text) {
    return JsonObject.of("method", TEST + "Echo", "parameters", JsonObject.of("text", text))
        .toString();
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
