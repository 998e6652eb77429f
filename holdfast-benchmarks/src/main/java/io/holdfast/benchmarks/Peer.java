package io.holdfast.benchmarks;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * A program that does a piece of work when a line on its input tells it to, and answers with a
 * line: the nanoseconds that took, and what came out of it. Several that do the same work, in Java
 * and in C, are compared in turns. It ends when this is closed.
 */
final class Peer implements AutoCloseable {
  private final String name;
  private final Process process;
  private final BufferedReader answers;

  /**
   * What a peer answers.
   *
   * @param nanos how long the work took
   * @param outcome what came out of it, the same of all peers
   */
  record Answer(long nanos, String outcome) {}

  /**
   * How often a piece of work is done.
   *
   * @param warmUp rounds that are not counted, in which a JVM compiles
   * @param rounds those that count
   */
  record Rounds(int warmUp, int rounds) {}

  private Peer(String name, List<String> command) throws IOException {
    this.name = name;
    this.process =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    this.answers = process.inputReader(StandardCharsets.US_ASCII);
  }

  /**
   * Starts peers of one kind of work: on a JVM with its defaults, on one as the installed command
   * and agent have it, and in C, which is compiled for that.
   *
   * @param folder where the program is compiled
   * @param source the name of its source, beside this class
   * @param libraries what it is linked to, as packages that have them
   * @param main the main class of the peers in Java
   */
  static List<Peer> start(Path folder, String source, List<String> libraries, Class<?> main)
      throws IOException, InterruptedException {
    List<Peer> peers = new ArrayList<>();
    try {
      peers.add(new Peer("Java", java(main, List.of())));
      peers.add(
          new Peer(
              "Java as the command runs",
              java(main, List.of("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m"))));
      peers.add(new Peer("C", List.of(compile(folder, source, libraries).toString())));
      return peers;
    } catch (IOException | InterruptedException e) {
      close(peers);
      throw e;
    }
  }

  private static List<String> java(Class<?> main, List<String> options) {
    return Jvm.plain("io.holdfast.benchmarks", main.getName(), options, List.of());
  }

  private static Path compile(Path folder, String name, List<String> libraries)
      throws IOException, InterruptedException {
    Path source = folder.resolve(name);
    try (InputStream code = Peer.class.getResourceAsStream(name)) {
      if (code == null) {
        throw new IOException(name + " is not in this build");
      }
      Files.copy(code, source);
    }
    Path program = folder.resolve(name.replace(".c", ""));
    List<String> command =
        new ArrayList<>(List.of("gcc", "-O2", "-o", program.toString(), source.toString()));
    libraries.forEach(each -> command.add("-l" + each));
    if (new ProcessBuilder(command).inheritIO().start().waitFor() != 0) {
      throw new IOException(
          "%s does not compile; are these packages installed: gcc, libc6-dev%s?"
              .formatted(
                  name,
                  String.join("", libraries.stream().map(l -> ", lib" + l + "-dev").toList())));
    }
    return program;
  }

  /**
   * Has it do a piece of work.
   *
   * @throws IOException if it ended
   */
  Answer ask(String work) throws IOException {
    process.getOutputStream().write((work + "\n").getBytes(StandardCharsets.US_ASCII));
    process.getOutputStream().flush();
    String answer = answers.readLine();
    if (answer == null) {
      throw new IOException(name + " ended, asked to: " + work);
    }
    String[] parts = answer.split(" ", 2);
    return new Answer(Long.parseLong(parts[0]), parts[1]);
  }

  /**
   * Has all do a piece of work in turns, and prints how long each took, and each but the last in
   * relation to the last: median (least – most).
   *
   * @param unit for people, such as "µs"
   * @param nanos nanoseconds of that unit, times what one piece of work counts for
   * @return what came out
   * @throws IOException if not the same came out of all
   */
  static String compare(
      List<Peer> peers, String what, String work, Rounds rounds, String unit, double nanos)
      throws IOException {
    double[][] took = new double[peers.size()][rounds.rounds()];
    String outcome = peers.getLast().ask(work).outcome();
    for (int round = -rounds.warmUp(); round < rounds.rounds(); round++) {
      for (int i = 0; i < peers.size(); i++) {
        // Who goes first changes: what the machine does besides hits all alike.
        int at = Math.floorMod(round + i, peers.size());
        Answer answer = peers.get(at).ask(work);
        if (!answer.outcome().equals(outcome)) {
          throw new IOException(
              "%s: %s in %s, %s in %s"
                  .formatted(
                      what, answer.outcome(), peers.get(at).name, outcome, peers.getLast().name));
        }
        if (round >= 0) {
          took[at][round] = answer.nanos();
        }
      }
    }
    List<String> shown = new ArrayList<>();
    for (int i = 0; i < peers.size(); i++) {
      double[] ratios = new double[rounds.rounds()];
      for (int round = 0; round < ratios.length; round++) {
        ratios[round] = took[i][round] / took[peers.size() - 1][round];
      }
      shown.add(
          peers.get(i).name
              + " "
              + range(took[i], nanos)
              + " "
              + unit
              + (i < peers.size() - 1 ? ", ratio " + range(ratios, 1) : ""));
    }
    System.out.println(what + ": " + String.join("; ", shown));
    return outcome;
  }

  private static String range(double[] values, double unit) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    return String.format(
        Locale.ROOT,
        "%.2f (%.2f – %.2f)",
        sorted[sorted.length / 2] / unit,
        sorted[0] / unit,
        sorted[sorted.length - 1] / unit);
  }

  /** Removes the folder that the peers' files were in. */
  static void remove(Path folder) throws IOException {
    try (var files = Files.list(folder)) {
      for (Path file : files.toList()) {
        Files.delete(file);
      }
    }
    Files.delete(folder);
  }

  /** Ends some. */
  static void close(List<Peer> peers) {
    peers.forEach(Peer::close);
  }

  @Override
  public void close() {
    process.destroyForcibly();
    try {
      process.waitFor();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
