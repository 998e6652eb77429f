package io.holdfast.kho;

import java.util.ArrayList;
import java.util.List;

/** Is told of defects: throws the first, or keeps them. */
interface Findings {
  /** Returns only if what is wrong can be left out. */
  void add(Defect defect);

  /** Reports a defect. */
  default void add(Defect.Rule rule, long address, String where, String found, String expected) {
    add(new Defect(rule, address, where, found, expected));
  }

  /** Throws each. */
  static Findings thrown() {
    return defect -> {
      throw new DefectException(defect);
    };
  }

  /** Keeps them; of a map full of nonsense not every page. */
  final class Kept implements Findings {
    private static final int MOST = 10_000;
    private final List<Defect> defects = new ArrayList<>();
    private long count;

    @Override
    public void add(Defect defect) {
      count++;
      if (defects.size() < MOST) {
        defects.add(defect);
      }
    }

    List<Defect> defects() {
      return defects;
    }

    long count() {
      return count;
    }
  }
}
