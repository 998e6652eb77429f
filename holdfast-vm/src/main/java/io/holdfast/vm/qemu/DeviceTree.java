package io.holdfast.vm.qemu;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * All devices of a machine in their buses, as the monitor command {@code info qtree} prints them
 * (qdev_print in QEMU's system/qdev-monitor.c and pcibus_dev_print in hw/pci). One command tells
 * every property; QMP has no equivalent below a command per property.
 *
 * @param devices in the order in which QEMU prints them, parents before children
 */
public record DeviceTree(List<Node> devices) {
  private static final Pattern BUS = Pattern.compile("( *)bus: (.*)");
  private static final Pattern DEVICE = Pattern.compile("( *)dev: ([^,]+), id \"(.*)\"");
  private static final Pattern PROPERTY = Pattern.compile(" *(\\S+) = (.*)");
  private static final Pattern FUNCTION =
      Pattern.compile(
          " *class (?<class>.*), addr \\w+:(?<slot>\\w\\w)\\.(?<function>\\w), pci id (?<id>.*)");
  private static final Pattern BAR =
      Pattern.compile(" *bar (\\d): (\\S+) at 0x([0-9a-f]+) \\[0x([0-9a-f]+)]");

  public DeviceTree {
    devices = List.copyOf(devices);
  }

  /**
   * A device.
   *
   * @param driver its type, such as {@code virtio-blk-pci}
   * @param id as on the command line; empty if it has none
   * @param bus the bus that it is on
   * @param parent the device that provides that bus; empty for the machine's own
   * @param properties as printed: {@code true}, {@code "text"}, {@code 256 (0x100)}
   * @param function what the guest sees of it on PCI, if it is there
   */
  public record Node(
      String driver,
      String id,
      String bus,
      Optional<Node> parent,
      Map<String, String> properties,
      Optional<Function> function) {
    /** Whether a property that is a truth value is true. */
    boolean isOn(String property) {
      String value = properties.getOrDefault(property, "");
      return value.equals("true") || value.equals("\"on\"");
    }
  }

  /**
   * A PCI function.
   *
   * @param address slot and function, such as {@code 04.0}; the number of its bus is the guest's
   * @param ids vendor, device, and those of the subsystem
   * @param bars each with its kind and its size in bytes
   */
  public record Function(String address, String type, String ids, List<String> bars) {
    @Override
    public String toString() {
      return ids + " of class " + type + (bars.isEmpty() ? "" : ", " + String.join(", ", bars));
    }
  }

  /** Reads what the command printed; lines of other kinds are left out. */
  public static DeviceTree parse(String printed) {
    Reader reader = new Reader();
    printed.lines().forEach(reader::line);
    return new DeviceTree(reader.devices.stream().map(Building::node).toList());
  }

  private static final class Building {
    final String driver;
    final String id;
    final String bus;
    final Optional<Building> parent;
    final Map<String, String> properties = new LinkedHashMap<>();
    final List<String> bars = new ArrayList<>();
    Optional<Function> function = Optional.empty();
    private Optional<Node> node = Optional.empty();

    Building(String driver, String id, String bus, Optional<Building> parent) {
      this.driver = driver;
      this.id = id;
      this.bus = bus;
      this.parent = parent;
    }

    Node node() {
      if (node.isEmpty()) {
        Optional<Function> whole =
            function.map(f -> new Function(f.address(), f.type(), f.ids(), List.copyOf(bars)));
        node =
            Optional.of(
                new Node(
                    driver, id, bus, parent.map(Building::node), Map.copyOf(properties), whole));
      }
      return node.get();
    }
  }

  private static final class Reader {
    private record Level(int indent, String bus, Optional<Building> device) {}

    final List<Building> devices = new ArrayList<>();

    /** Buses and devices around the current line, the innermost first. */
    private final Deque<Level> around = new ArrayDeque<>();

    void line(String line) {
      Matcher bus = BUS.matcher(line);
      if (bus.matches()) {
        Optional<Building> provider = enclosing(bus.group(1).length());
        around.push(new Level(bus.group(1).length(), bus.group(2), provider));
        return;
      }
      Matcher device = DEVICE.matcher(line);
      if (device.matches()) {
        Optional<Building> provider = enclosing(device.group(1).length());
        String on = around.isEmpty() ? "" : around.peek().bus();
        Building found = new Building(device.group(2), device.group(3), on, provider);
        devices.add(found);
        around.push(new Level(device.group(1).length(), on, Optional.of(found)));
        return;
      }
      if (!devices.isEmpty()) {
        detail(devices.getLast(), line);
      }
    }

    /** Leaves what is not around a line that is indented so far; the device around it. */
    private Optional<Building> enclosing(int indent) {
      while (!around.isEmpty() && around.peek().indent() >= indent) {
        around.pop();
      }
      return around.isEmpty() ? Optional.empty() : around.peek().device();
    }

    private static void detail(Building device, String line) {
      Matcher property = PROPERTY.matcher(line);
      Matcher function = FUNCTION.matcher(line);
      Matcher bar = BAR.matcher(line);
      if (property.matches()) {
        device.properties.putIfAbsent(property.group(1), property.group(2));
      } else if (function.matches()) {
        device.function =
            Optional.of(
                new Function(
                    function.group("slot") + "." + function.group("function"),
                    function.group("class"),
                    function.group("id"),
                    List.of()));
      } else if (bar.matches()) {
        // Printed are the first address and the last; unmapped ones begin at the last address of
        // all.
        long first = Long.parseUnsignedLong(bar.group(3), 16);
        long last = Long.parseUnsignedLong(bar.group(4), 16);
        device.bars.add(
            "BAR %s of %d bytes (%s)".formatted(bar.group(1), last - first + 1, bar.group(2)));
      }
    }
  }
}
