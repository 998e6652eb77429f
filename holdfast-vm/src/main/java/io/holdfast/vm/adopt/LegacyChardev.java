package io.holdfast.vm.adopt;

import io.holdfast.vm.option.OptionText;

/**
 * The short form of a character device, as {@code -serial} and others take it
 * (qemu_chr_parse_compat in QEMU's chardev/char.c), in the long form of {@code -chardev}.
 */
final class LegacyChardev {
  private LegacyChardev() {}

  static OptionText parse(String text, String id) {
    if (text.startsWith("mon:")) {
      return parse(text.substring("mon:".length()), id).with("mux", "on");
    }
    int colon = text.indexOf(':');
    String kind = colon < 0 ? text : text.substring(0, colon);
    String rest = colon < 0 ? "" : text.substring(colon + 1);
    return switch (kind) {
      case "vc" -> of("vc", id);
      case "file" -> of("file", id).with("path", rest);
      case "pipe" -> of("pipe", id).with("path", rest);
      case "unix" -> socket(rest, "path", id);
      case "tcp", "telnet", "tn3270", "websocket" -> {
        int comma = rest.indexOf(',');
        String address = comma < 0 ? rest : rest.substring(0, comma);
        int port = address.lastIndexOf(':');
        OptionText socket =
            socket(rest, "host", id)
                .with("host", address.substring(0, Math.max(0, port)))
                .with("port", address.substring(port + 1));
        yield kind.equals("tcp") ? socket : socket.with(kind, "on");
      }
      case "udp" -> of("udp", id);
      default -> text.startsWith("/dev/") ? of("serial", id).with("path", text) : of(kind, id);
    };
  }

  private static OptionText of(String backend, String id) {
    return OptionText.parse("", "backend").with("backend", backend).with("id", id);
  }

  private static OptionText socket(String rest, String first, String id) {
    OptionText socket = of("socket", id);
    for (OptionText.Pair pair : OptionText.parse(rest, first).pairs()) {
      boolean off = pair.value().isEmpty() && pair.key().startsWith("no");
      socket =
          socket.with(
              off ? pair.key().substring(2) : pair.key(), pair.value().orElse(off ? "off" : "on"));
    }
    return socket;
  }
}
