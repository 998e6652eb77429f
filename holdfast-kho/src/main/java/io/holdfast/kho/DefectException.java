package io.holdfast.kho;

/** A handover can't be read further, because something in it is broken. */
public final class DefectException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final transient Defect defect;

  DefectException(Defect defect) {
    super(defect.toString());
    this.defect = defect;
  }

  /** What is broken. */
  public Defect defect() {
    return defect;
  }
}
