package io.holdfast.cli;

import java.util.ArrayList;
import java.util.List;

/** Text in columns as wide as their widest cell, two blanks apart. */
final class Table {
  private final List<Column> columns;
  private final List<List<String>> rows = new ArrayList<>();

  /** A column: its heading, and whether its cells stand at its right edge, as numbers do. */
  record Column(String heading, boolean right) {
    static Column left(String heading) {
      return new Column(heading, false);
    }

    static Column right(String heading) {
      return new Column(heading, true);
    }
  }

  Table(Column... columns) {
    this.columns = List.of(columns);
    rows.add(this.columns.stream().map(Column::heading).toList());
  }

  /** Adds a row of one cell for each column. */
  void row(String... cells) {
    if (cells.length != columns.size()) {
      throw new IllegalArgumentException(
          cells.length + " cells for " + columns.size() + " columns");
    }
    List<String> row = new ArrayList<>();
    for (String cell : cells) {
      row.add(clean(cell));
    }
    rows.add(row);
  }

  /** The headings and the rows, each line ended, none with blanks at its end. */
  String text() {
    int[] widths = new int[columns.size()];
    for (List<String> row : rows) {
      for (int i = 0; i < widths.length; i++) {
        widths[i] = Math.max(widths[i], row.get(i).length());
      }
    }
    StringBuilder text = new StringBuilder();
    for (List<String> row : rows) {
      StringBuilder line = new StringBuilder();
      for (int i = 0; i < widths.length; i++) {
        String cell = row.get(i);
        String gap = " ".repeat(widths[i] - cell.length());
        line.append(i == 0 ? "" : "  ");
        line.append(columns.get(i).right() ? gap + cell : cell + gap);
      }
      text.append(line.toString().stripTrailing()).append('\n');
    }
    return text.toString();
  }

  /**
   * The text on one line and without control characters: what a QEMU wrote on its standard error
   * must not steer the terminal that it is shown on.
   */
  static String clean(String text) {
    return text.strip().replaceAll("\\s*\\R\\s*", " ").replaceAll("\\p{Cntrl}", "?");
  }
}
