package io.holdfast.cli;

import io.holdfast.kho.Handover;
import io.holdfast.kho.Owner;
import io.holdfast.kho.Ownership;
import io.holdfast.kho.memory.MemoryRange;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The machine's memory drawn: what is preserved, what is scratch. */
final class KhoMap {
  private static final int TEXT_ROWS = 24;
  private static final int SVG_COLUMNS = 128;
  private static final int SVG_ROWS = 96;
  private static final int CELL = 8;
  private static final int MARGIN = 120;

  /** A row with its address for so many. */
  private static final int NAMED_ROWS = 4;

  /** The height of what explains a colour. */
  private static final int KEY = 18;

  private static final String FREE = "#e8e8e8";
  private static final String SCRATCH = "#f2c14e";
  private static final String UNKNOWN = "#555555";

  /** Colours that people who see few colours tell apart as well (Okabe and Ito). */
  private static final List<String> OWNERS =
      List.of("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a5a00");

  private KhoMap() {}

  /** A row of cells, each for so many bytes from an address on. */
  private record Row(long address, int cells, long cell) {}

  private static List<Row> rows(Handover handover, int columns, int most) {
    List<MemoryRange> ranges = handover.memory().ranges();
    long cell = MemoryRange.PAGE;
    while (count(ranges, cell, columns) > most) {
      cell *= 2;
    }
    List<Row> rows = new ArrayList<>();
    for (MemoryRange range : ranges) {
      for (long at = range.address(); at < range.end(); at += cell * columns) {
        long cells = (range.end() - at + cell - 1) / cell;
        rows.add(new Row(at, (int) Math.min(columns, cells), cell));
      }
    }
    return rows;
  }

  private static long count(List<MemoryRange> ranges, long cell, int columns) {
    // A range takes a row, however small it is: more of them than rows are drawn all the same.
    long rows = -ranges.size();
    for (MemoryRange each : ranges) {
      rows += (each.size() + cell * columns - 1) / (cell * columns);
    }
    return rows;
  }

  private static boolean scratch(Handover handover, MemoryRange range) {
    return handover.map().scratch().stream().anyMatch(range::overlaps);
  }

  /** As lines of text of at most so many columns. */
  static String text(Handover handover, int width) {
    int columns = 1 << (31 - Integer.numberOfLeadingZeros(Math.max(16, width - 16)));
    List<Row> rows = rows(handover, columns, TEXT_ROWS);
    StringBuilder text = new StringBuilder();
    long cell = rows.getFirst().cell();
    text.append(
        "Each character is %s: # preserved, + some of it, s scratch, . neither.\n"
            .formatted(Size.text(cell)));
    for (Row row : rows) {
      text.append("%14s ".formatted("0x" + Long.toHexString(row.address())));
      for (int i = 0; i < row.cells(); i++) {
        MemoryRange range = new MemoryRange(row.address() + i * cell, cell);
        long pages = handover.map().pages(range);
        text.append(
            pages * MemoryRange.PAGE == cell
                ? '#'
                : pages > 0 ? '+' : scratch(handover, range) ? 's' : '.');
      }
      text.append('\n');
    }
    return text.toString();
  }

  /** What is drawn in one colour: a session, or all that is no session's. */
  private static String group(Owner owner) {
    return switch (owner) {
      case Owner.Content content -> "session " + content.session();
      case Owner.Description description -> "session " + description.session();
      case Owner.Region region -> "reserve_mem " + region.name();
      case Owner.Tree _, Owner.Blob _, Owner.Lists _ -> "the handover itself";
    };
  }

  private static Map<String, String> colours(Handover handover) {
    Map<String, String> colours = new LinkedHashMap<>();
    for (Ownership.Share each : handover.ownership().shares()) {
      colours.computeIfAbsent(group(each.owner()), _ -> OWNERS.get(colours.size() % OWNERS.size()));
    }
    return colours;
  }

  /** As a picture that needs nothing else. */
  static String svg(Handover handover) {
    return picture(handover, keys(handover));
  }

  /** What each colour stands for. */
  private static Map<String, String> keys(Handover handover) {
    Map<String, String> keys = colours(handover);
    keys.put("nobody that is known", UNKNOWN);
    keys.put("scratch", SCRATCH);
    keys.put("not preserved", FREE);
    return keys;
  }

  /**
   * Draws the map.
   *
   * @param keys the colours that are explained below it
   */
  private static String picture(Handover handover, Map<String, String> keys) {
    List<Row> rows = rows(handover, SVG_COLUMNS, SVG_ROWS);
    Map<String, String> colours = colours(handover);
    int below = (rows.size() + 1) * CELL;
    int height = below + keys.size() * KEY;
    StringBuilder svg = new StringBuilder();
    svg.append(
        """
        <svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="monospace" font-size="11">
        <rect width="100%%" height="100%%" fill="#ffffff"/>
        """
            .formatted(MARGIN + SVG_COLUMNS * CELL, height));
    int named = -NAMED_ROWS;
    for (int y = 0; y < rows.size(); y++) {
      Row row = rows.get(y);
      // Names need more room than a row has; where memory goes on elsewhere one is needed.
      boolean gap = y > 0 && row.address() != end(rows.get(y - 1));
      if (gap || y - named >= NAMED_ROWS) {
        svg.append(
            text(MARGIN - CELL, (y + 1) * CELL, "end", "0x" + Long.toHexString(row.address())));
        named = y;
      }
      for (int x = 0; x < row.cells(); ) {
        String colour = colour(handover, row, x, colours);
        int end = x + 1;
        while (end < row.cells() && colour(handover, row, end, colours).equals(colour)) {
          end++;
        }
        svg.append(rect(MARGIN + x * CELL, y * CELL, (end - x) * CELL, CELL - 1, colour));
        x = end;
      }
    }
    int y = below;
    for (Map.Entry<String, String> each : keys.entrySet()) {
      svg.append(rect(MARGIN, y, KEY - 4, KEY - 4, each.getValue()));
      svg.append(text(MARGIN + KEY, y + KEY - 6, "start", each.getKey()));
      y += KEY;
    }
    return svg.append("</svg>\n").toString();
  }

  private static long end(Row row) {
    return row.address() + row.cells() * row.cell();
  }

  private static String rect(int x, int y, int width, int height, String colour) {
    return "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\"/>\n"
        .formatted(x, y, width, height, colour);
  }

  private static String text(int x, int y, String anchor, String text) {
    return "<text x=\"%d\" y=\"%d\" text-anchor=\"%s\">%s</text>\n"
        .formatted(x, y, anchor, escaped(text));
  }

  private static String colour(Handover handover, Row row, int cell, Map<String, String> colours) {
    MemoryRange range = new MemoryRange(row.address() + cell * row.cell(), row.cell());
    if (handover.map().pages(range) == 0) {
      return scratch(handover, range) ? SCRATCH : FREE;
    }
    // Who has most of it.
    Map<String, Long> pages = new LinkedHashMap<>();
    for (Ownership.Share each : handover.ownership().shares()) {
      long some = handover.ownership().pages(each.owner(), range);
      if (some > 0) {
        pages.merge(group(each.owner()), some, Long::sum);
      }
    }
    String colour = UNKNOWN;
    long most = handover.ownership().unknown(range);
    for (Map.Entry<String, Long> each : pages.entrySet()) {
      if (each.getValue() > most) {
        most = each.getValue();
        colour = colours.getOrDefault(each.getKey(), UNKNOWN);
      }
    }
    return colour;
  }

  /** As a page that needs nothing else. */
  static String html(Handover handover) {
    StringBuilder html =
        new StringBuilder(
            """
            <!doctype html>
            <html lang="en"><meta charset="utf-8"><title>Preserved memory</title>
            <style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}td,th{padding:.2em 1em;text-align:left}
            td.n{text-align:right}i{display:inline-block;width:1em;height:1em;margin-right:.5em}</style>
            <h1>Preserved memory</h1>
            """);
    html.append("<p>")
        .append(
            escaped(
                handover
                    .metadata()
                    .map(each -> "Handed over by " + each.release() + ". ")
                    .orElse("")))
        .append("Each cell is ")
        .append(Size.text(rows(handover, SVG_COLUMNS, SVG_ROWS).getFirst().cell()))
        .append(".</p>\n<p>");
    keys(handover).forEach((group, colour) -> legend(html, colour, group));
    html.append("</p>\n").append(picture(handover, Map.of()));
    html.append("<table><tr><th>For<th>Blocks<th>Size\n");
    for (Ownership.Share each : handover.ownership().shares()) {
      html.append(
          "<tr><td>%s<td class=n>%d<td class=n>%s\n"
              .formatted(escaped(each.owner().toString()), each.blocks(), Size.text(each.size())));
    }
    return html.append("</table></html>\n").toString();
  }

  private static void legend(StringBuilder html, String colour, String what) {
    html.append("<i style=\"background:%s\"></i>%s &nbsp; ".formatted(colour, escaped(what)));
  }

  private static String escaped(String text) {
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
  }
}
