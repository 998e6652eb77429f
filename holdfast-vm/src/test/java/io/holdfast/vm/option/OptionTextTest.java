package io.holdfast.vm.option;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.promise.Promise;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class OptionTextTest {
  @ParameterizedTest
  @ValueSource(
      strings = {
        "virtio-blk-pci,drive=d0,id=x",
        "q35,accel=kvm:tcg,usb=off",
        "file,id=c,path=/a,,b,append=on",
        "socket,id=c,server,nowait,path=/x",
        "file=/a=b,if=virtio",
        "{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"a\"}}"
      })
  void whatIsNotChangedStaysAsItWas(String text) {
    String read = OptionText.parse(text, "driver").toString();
    assertThat(read.replace(" ", "")).isEqualTo(text.replace(" ", ""));
  }

  @Test
  void propertiesAreReadAsQemuReadsThem() {
    OptionText text = OptionText.parse("socket,server,nowait,path=/a,,b,path=/c,,d", "backend");
    assertThat(text.get("backend")).contains("socket");
    assertThat(text.isOn("server")).isTrue();
    assertThat(text.get("wait")).contains("off");
    assertThat(text.get("path")).as("the last one counts").contains("/c,d");
    assertThat(text.get("id")).isEmpty();
  }

  @Test
  void jsonAndTextChangeAlike() {
    OptionText text = OptionText.parse("file,node-name=n,filename=a", "driver");
    OptionText json =
        OptionText.parse(
            "{\"driver\":\"file\",\"node-name\":\"n\",\"filename\":\"a\",\"read-only\":true}",
            "driver");
    for (OptionText each : List.of(text, json)) {
      OptionText changed = each.with("filename", "/b").without("node-name");
      assertThat(changed.get("filename")).contains("/b");
      assertThat(changed.get("node-name")).isEmpty();
      assertThat(changed.get("driver")).contains("file");
    }
    assertThat(json.isOn("read-only")).isTrue();
    assertThat(json.with("read-only", "off").toString()).contains("\"read-only\":false");
  }

  @Test
  void everyPathInANestedDescriptionIsChanged() {
    OptionText json =
        OptionText.parse(
            "{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"a\"},"
                + "\"backing\":{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"b\"}}}",
            "driver");
    assertThat(json.mapEach("filename", p -> "/d/" + p).get("backing.file.filename"))
        .contains("/d/b");
    OptionText dotted = OptionText.parse("qcow2,file.driver=file,file.filename=a", "driver");
    assertThat(dotted.mapEach("filename", p -> "/d/" + p).toString())
        .isEqualTo("qcow2,file.driver=file,file.filename=/d/a");
  }

  @Test
  @Promise("adoption")
  void anyValueSurvivesWritingAndReading() {
    long seed = Long.getLong("holdfast.seed", System.nanoTime());
    Random random = new Random(seed);
    for (int round = 0; round < 2000; round++) {
      OptionText text = OptionText.parse("", "driver");
      List<String> values = new ArrayList<>();
      for (int i = 0; i < 1 + random.nextInt(5); i++) {
        String value = value(random);
        values.add(value);
        text = text.with(i == 0 ? "driver" : "k" + i, value);
      }
      OptionText again = OptionText.parse(text.toString(), "driver");
      for (int i = 0; i < values.size(); i++) {
        assertThat(again.get(i == 0 ? "driver" : "k" + i))
            .as("seed %d: %s", seed, text)
            .isEqualTo(Optional.of(values.get(i)));
      }
    }
  }

  private static String value(Random random) {
    String letters = "ab,=/.:${}\"\\ é-";
    StringBuilder value = new StringBuilder();
    for (int i = random.nextInt(8); i > 0; i--) {
      value.append(letters.charAt(random.nextInt(letters.length())));
    }
    return value.toString();
  }

  @Test
  void damagedJsonIsNamed() {
    assertThatThrownBy(() -> OptionText.parse("{\"driver\":", "driver"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("{\"driver\":");
  }
}
