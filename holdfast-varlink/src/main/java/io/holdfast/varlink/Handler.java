package io.holdfast.varlink;

/** What answers the calls of one method. Calls of different connections come at the same time. */
@FunctionalInterface
public interface Handler {
  /**
   * Answers a call with {@link Call#reply}; one that has nothing to say may just return.
   *
   * @throws VarlinkError to answer with this error. Any other exception is logged and answered with
   *     {@code io.holdfast.InternalError (message: string)}; the connection lives on
   */
  void handle(Call call);
}
