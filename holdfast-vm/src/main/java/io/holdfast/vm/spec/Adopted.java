package io.holdfast.vm.spec;

import io.holdfast.varlink.json.JsonObject;
import java.util.List;

/**
 * What an adopted VM has besides what Holdfast gives a VM, and can't keep. Not a device for the
 * guest: it stands for what somebody else set up around it.
 *
 * @param first what ends with the first update
 * @param always what is lost in each
 */
public record Adopted(List<String> first, List<String> always) implements Device {
  static final String KIND = "adopted";

  public Adopted {
    first = List.copyOf(first);
    always = List.copyOf(always);
  }

  @Override
  public String id() {
    return KIND;
  }

  /** None: the command line that was found has everything. */
  @Override
  public List<String> arguments(Slots slots) {
    return List.of();
  }

  @Override
  public JsonObject toJson() {
    return JsonObject.of("kind", KIND, "first", first, "always", always);
  }

  static Adopted fromJson(JsonObject json) {
    return new Adopted(json.array("first").strings(), json.array("always").strings());
  }
}
