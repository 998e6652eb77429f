package io.holdfast.vm.device;

import io.holdfast.linux.Fd;
import io.holdfast.vm.channel.Channel;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.spec.Findings;
import java.io.IOException;
import java.util.Map;

/**
 * A console or a named port, which lives on across generations by itself; it only has to be told
 * which one the guest runs in.
 *
 * @param label the descriptor's on the command line
 * @param keeps what a plan says of it
 * @param crossing what a plan for another kernel says of it
 */
public record ChannelBackend(Channel channel, String label, String keeps, Crossing crossing)
    implements Backend {
  /** What a plan for another kernel says of it. */
  public record Crossing(String keeps, String loses) {}

  @Override
  public Map<String, Fd> open(int generation) throws IOException {
    return Map.of(label, channel.open(generation));
  }

  @Override
  public void plan(Findings findings) {
    findings.preserved(keeps);
  }

  @Override
  public void planCrossing(Findings findings) {
    findings.preserved(crossing.keeps());
    findings.loss(crossing.loses());
  }

  @Override
  public Map<String, Fd> packed(int generation) throws IOException {
    return channel.packed(generation);
  }

  @Override
  public void stays(int generation) throws IOException {
    channel.running(generation);
  }

  @Override
  public void attached(int generation) throws IOException {
    channel.attached(generation);
  }

  @Override
  public void frozen(int generation) throws IOException {
    channel.frozen(generation);
  }

  @Override
  public void running(int generation, Qmp qmp) throws IOException {
    channel.running(generation);
  }

  @Override
  public void drop(int generation) throws IOException {
    channel.drop(generation);
  }

  @Override
  public void close() {
    channel.close();
  }
}
