package io.holdfast.promise;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * Names the promises of SPECIFICATION.md that a test, a scenario or a benchmark holds. The index,
 * docs/promises.md, is made from these by {@code PromisesTest}.
 */
@Documented
@Retention(RetentionPolicy.CLASS)
@Target({ElementType.TYPE, ElementType.METHOD})
public @interface Promise {
  /** Returns the names of the promises, such as {@code never-twice}. */
  String[] value();
}
