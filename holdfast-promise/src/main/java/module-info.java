/** What ties a test to the promise that it holds. */
module io.holdfast.promise {
  exports io.holdfast.promise;
}
