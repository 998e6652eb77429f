package io.holdfast.cli;

import java.util.Collection;
import java.util.Comparator;
import java.util.Optional;

/** Which known word a mistyped one was probably meant to be. */
final class Typos {
  private Typos() {}

  /**
   * The known word that takes the fewest edits to get from what was typed (a letter put in, left
   * out, replaced, or swapped with its neighbour), if it takes no more than a third of its letters,
   * or one.
   */
  static Optional<String> meant(String typed, Collection<String> known) {
    return known.stream()
        .filter(word -> edits(typed, word) <= Math.max(1, word.length() / 3))
        .min(Comparator.comparingInt(word -> edits(typed, word)));
  }

  /** The optimal string alignment distance: Damerau's, with no part edited twice. */
  static int edits(String from, String to) {
    int[][] edits = new int[from.length() + 1][to.length() + 1];
    for (int i = 0; i <= from.length(); i++) {
      for (int j = 0; j <= to.length(); j++) {
        if (i == 0 || j == 0) {
          edits[i][j] = i + j;
          continue;
        }
        int replaced = edits[i - 1][j - 1] + (from.charAt(i - 1) == to.charAt(j - 1) ? 0 : 1);
        int fewest = Math.min(replaced, 1 + Math.min(edits[i - 1][j], edits[i][j - 1]));
        if (i > 1
            && j > 1
            && from.charAt(i - 1) == to.charAt(j - 2)
            && from.charAt(i - 2) == to.charAt(j - 1)) {
          fewest = Math.min(fewest, edits[i - 2][j - 2] + 1);
        }
        edits[i][j] = fewest;
      }
    }
    return edits[from.length()][to.length()];
  }
}
