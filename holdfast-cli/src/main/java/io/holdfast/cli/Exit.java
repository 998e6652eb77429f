package io.holdfast.cli;

/** The command's exit codes. */
enum Exit {
  OK(0, "done"),
  FAILED(1, "failed or cancelled"),
  USAGE(2, "the command line makes no sense; nothing was tried"),
  REFUSED(3, "refused by the plan; nothing was changed"),
  NO_AGENT(4, "no agent listens on the socket");

  private final int code;
  private final String meaning;

  Exit(int code, String meaning) {
    this.code = code;
    this.meaning = meaning;
  }

  /** What an update that ended like this comes to. */
  static Exit of(String outcome) {
    return switch (outcome) {
      case "completed", "recovered", "planned" -> OK;
      case "refused" -> REFUSED;
      default -> FAILED;
    };
  }

  int code() {
    return code;
  }

  String meaning() {
    return meaning;
  }
}
