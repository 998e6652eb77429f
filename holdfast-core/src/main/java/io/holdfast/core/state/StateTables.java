package io.holdfast.core.state;

import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/** The state machines' tables as text, read from the very tables that the machines obey. */
public final class StateTables {
  private StateTables() {}

  /** Both machines, transitions and permissions, as lines that end in a newline. */
  public static String print() {
    StringBuilder out = new StringBuilder();
    for (CarrierKind carrier : CarrierKind.values()) {
      String name = carrier.name().toLowerCase(Locale.ROOT);
      List<List<String>> rows = new ArrayList<>();
      rows.add(List.of("state", "phase", "next"));
      for (UpdateState state : UpdateState.values()) {
        Set<UpdateState> next = UpdateMachine.next(state, carrier);
        if (!next.isEmpty()) {
          rows.add(
              List.of(
                  state.name(),
                  state.phase().name().toLowerCase(Locale.ROOT),
                  list(EnumSet.copyOf(next))));
        }
      }
      table(out, "Update, carrier " + name + ": transitions", rows);

      rows = new ArrayList<>();
      List<String> head = new ArrayList<>(List.of("state"));
      for (Operation operation : Operation.values()) {
        head.add(operation.words());
      }
      rows.add(head);
      for (UpdateState state : UpdateState.values()) {
        if (!UpdateMachine.next(state, carrier).isEmpty()) {
          List<String> row = new ArrayList<>(List.of(state.name()));
          for (Operation operation : Operation.values()) {
            row.add(UpdateMachine.permission(state, operation, carrier).words());
          }
          rows.add(row);
        }
      }
      table(out, "Update, carrier " + name + ": permissions", rows);
    }
    List<List<String>> rows = new ArrayList<>();
    List<String> head = new ArrayList<>(List.of("state", "next"));
    for (MemoryOperation operation : MemoryOperation.values()) {
      head.add(operation.words());
    }
    rows.add(head);
    for (MemoryState state : MemoryState.values()) {
      Set<MemoryState> next = MemoryMachine.next(state);
      List<String> row = new ArrayList<>();
      row.add(state.name());
      row.add(next.isEmpty() ? "-" : list(EnumSet.copyOf(next)));
      for (MemoryOperation operation : MemoryOperation.values()) {
        row.add(MemoryMachine.permitting(operation).contains(state) ? "yes" : "no");
      }
      rows.add(row);
    }
    table(out, "Preserved memory: transitions and permissions", rows);
    return out.toString();
  }

  private static String list(Iterable<?> values) {
    StringBuilder text = new StringBuilder();
    for (Object value : values) {
      text.append(text.isEmpty() ? "" : ", ").append(value);
    }
    return text.toString();
  }

  private static void table(StringBuilder out, String title, List<List<String>> rows) {
    if (!out.isEmpty()) {
      out.append('\n');
    }
    out.append(title).append('\n');
    int columns = rows.getFirst().size();
    for (List<String> row : rows) {
      StringBuilder line = new StringBuilder();
      for (int column = 0; column < columns; column++) {
        int at = column;
        int width = rows.stream().mapToInt(each -> each.get(at).length()).max().orElse(0);
        String cell = row.get(column);
        line.append("  ").append(cell).append(" ".repeat(width - cell.length()));
      }
      out.append(line.toString().stripTrailing()).append('\n');
    }
  }
}
