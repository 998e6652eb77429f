/** What ties a test to the promise that it holds. */
package io.holdfast.promise;
