package io.holdfast.store;

/**
 * What a descriptor in the store is. As text, {@link #text}, it is the descriptor's label in the
 * store; docs/design.md has the forms.
 */
public sealed interface StoreKey {
  /** The label of a VM's device state in its box. */
  String DEVICE_STATE = "device-state";

  /** Returns it as text; {@link #of} reads that. */
  String text();

  /**
   * Returns what it is grouped under, for people: the text of its box, or what a session's text has
   * before its last slash.
   */
  default String group() {
    return text().substring(0, Math.max(0, text().lastIndexOf('/')));
  }

  /** Returns what tells it from others of its group: the label of an entry in its box. */
  default String label() {
    return text().substring(text().lastIndexOf('/') + 1);
  }

  /** Something of a VM. */
  sealed interface OfVm extends StoreKey {
    /** Returns the VM. */
    VmId vm();

    @Override
    default String group() {
      return vm().text();
    }

    @Override
    String label();

    @Override
    default String text() {
      return group() + "/" + label();
    }
  }

  /**
   * What each QEMU process of a VM inherits: guest RAM, the kernel and initrd that it booted from,
   * files of an adopted VM.
   */
  record Inherited(VmId vm, String label) implements OfVm {
    /** Checks that the label is no other key's. */
    public Inherited {
      if (label.equals(DEVICE_STATE) || label.indexOf(Backend.SEPARATOR) >= 0) {
        throw new IllegalArgumentException("not a label of what QEMU inherits: " + label);
      }
    }
  }

  /** The copy of a VM's device state during an update. */
  record DeviceState(VmId vm) implements OfVm {
    @Override
    public String label() {
      return DEVICE_STATE;
    }
  }

  /**
   * What the back end of a VM's device needs to go on: a socket of a console, a listener of a
   * forwarded port.
   *
   * @param device the device's id
   * @param part the back end's own name for it
   */
  record Backend(VmId vm, String device, String part) implements OfVm {
    static final char SEPARATOR = '@';

    @Override
    public String label() {
      return device + SEPARATOR + part;
    }
  }

  /** An entry of a service's box. */
  record InServiceBox(ServiceBox box, String label) implements StoreKey {
    @Override
    public String group() {
      return box.text();
    }

    @Override
    public String text() {
      return group() + "/" + label;
    }
  }

  /**
   * A session of the previous kernel, stored by this kernel's agents.
   *
   * @param name the session's
   */
  record ArrivedSession(String name) implements StoreKey {
    private static final String PREFIX = "@session/";

    @Override
    public String text() {
      return PREFIX + name;
    }
  }

  /**
   * A session that is to be handed to the next kernel; on that kernel, one that has arrived.
   *
   * @param boot the id of the boot that it leaves from
   * @param name the session's
   */
  record LeavingSession(String boot, String name) implements StoreKey {
    private static final String PREFIX = "@leaving/";

    @Override
    public String text() {
      return PREFIX + boot + "/" + name;
    }
  }

  /** What this version does not know: it stays in the store, and is not used. */
  record Unknown(String text) implements StoreKey {}

  /** Reads a label. */
  static StoreKey of(String text) {
    if (text.startsWith(ServiceBox.PREFIX)) {
      String rest = text.substring(ServiceBox.PREFIX.length());
      int slash = rest.indexOf('/');
      return slash < 0
          ? new Unknown(text)
          : new InServiceBox(new ServiceBox(rest.substring(0, slash)), rest.substring(slash + 1));
    }
    if (text.startsWith(ArrivedSession.PREFIX)) {
      return new ArrivedSession(text.substring(ArrivedSession.PREFIX.length()));
    }
    if (text.startsWith(LeavingSession.PREFIX)) {
      String rest = text.substring(LeavingSession.PREFIX.length());
      int slash = rest.indexOf('/');
      return slash < 0
          ? new Unknown(text)
          : new LeavingSession(rest.substring(0, slash), rest.substring(slash + 1));
    }
    int slash = text.indexOf('/');
    return slash < 1 || text.charAt(0) == '@'
        ? new Unknown(text)
        : VmId.of(text.substring(0, slash)).key(text.substring(slash + 1));
  }

  /** Reads the label of something of a VM. */
  static OfVm of(VmId vm, String label) {
    if (label.equals(DEVICE_STATE)) {
      return new DeviceState(vm);
    }
    int at = label.indexOf(Backend.SEPARATOR);
    return at < 0
        ? new Inherited(vm, label)
        : new Backend(vm, label.substring(0, at), label.substring(at + 1));
  }
}
