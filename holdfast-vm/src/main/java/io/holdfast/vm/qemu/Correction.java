package io.holdfast.vm.qemu;

import io.holdfast.vm.option.OptionText;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * What is added to a successor's command line, so that one of its devices becomes what the
 * predecessor's device really is.
 *
 * @param device names it for people
 * @param id of the device; empty for devices without one, all of which are alike then
 * @param type of the virtio device, such as {@code virtio-blk}
 * @param properties and their values
 * @param rings what the predecessor's device has
 */
public record Correction(
    String device,
    Optional<String> id,
    String type,
    Map<String, Integer> properties,
    VirtioRings rings) {
  public Correction {
    properties = new TreeMap<>(properties);
  }

  /**
   * Finds what takes differences between the rings of two machines away.
   *
   * @return empty if there are none, or no property does
   */
  public static List<Correction> between(Layout predecessor, Layout successor) {
    List<Correction> found = new ArrayList<>();
    predecessor
        .virtio()
        .forEach(
            (name, virtio) -> {
              Layout.Virtio other = successor.virtio().get(name);
              if (other == null || other.rings().equals(virtio.rings())) {
                return;
              }
              Map<String, Integer> properties = virtio.rings().properties(other.rings());
              boolean named = virtio.id().isPresent() || allAlike(predecessor, virtio);
              if (!properties.isEmpty() && named) {
                found.add(
                    new Correction(
                        name, virtio.id(), virtio.rings().type(), properties, virtio.rings()));
              }
            });
    return found;
  }

  private static boolean allAlike(Layout layout, Layout.Virtio virtio) {
    return layout.virtio().values().stream()
        .filter(each -> each.rings().type().equals(virtio.rings().type()))
        .allMatch(each -> each.rings().equals(virtio.rings()));
  }

  /** Changes a command line; does nothing the second time. */
  public static List<String> apply(List<Correction> corrections, List<String> arguments) {
    List<String> changed = new ArrayList<>(arguments);
    corrections.forEach(correction -> correction.apply(changed));
    return changed;
  }

  private void apply(List<String> arguments) {
    for (int i = 0; i + 1 < arguments.size(); i++) {
      if (arguments.get(i).equals("-device") && id.isPresent()) {
        OptionText device = OptionText.parse(arguments.get(i + 1), "driver");
        if (device.get("id").equals(id)) {
          for (var property : properties.entrySet()) {
            device = device.with(property.getKey(), property.getValue());
          }
          arguments.set(i + 1, device.toString());
          return;
        }
      }
    }
    // A device without an id, or one that an option such as -drive makes.
    properties.forEach(
        (property, value) -> {
          String global = type + "-device." + property + "=" + value;
          if (!arguments.contains(global)) {
            arguments.add("-global");
            arguments.add(global);
          }
        });
  }

  @Override
  public String toString() {
    return device
        + " has rings of "
        + rings
        + ", which the successor gets by "
        + properties.entrySet().stream()
            .map(p -> p.getKey() + "=" + p.getValue())
            .collect(Collectors.joining(", "));
  }
}
