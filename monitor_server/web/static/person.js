// Who is at the keyboard: a name that the browser remembers. Where a token names the person, the service uses that.

const KEY = "trainguard-name";

export function personName() {
  return localStorage.getItem(KEY) ?? "";
}

/** A field for the name, remembered as it is changed. */
export function bindName(field) {
  field.value = personName();
  field.addEventListener("change", () => localStorage.setItem(KEY, field.value.trim()));
}
