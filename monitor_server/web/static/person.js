// Who is at the keyboard: the token's name where one is signed in, which the service knows by itself; else a name that
// the browser remembers.

import { session } from "./session.js";

const KEY = "trainguard-name";
let isSignedIn = false;
session.then((told) => { isSignedIn = Boolean(told?.needs_token && told.name); });

/** Empty where the service knows the name, or nobody told one. */
export function personName() {
  return isSignedIn ? "" : localStorage.getItem(KEY) ?? "";
}

/** A field for the name, remembered as it is changed; `label` goes away where it is not needed. */
export function bindName(field, label) {
  // Somebody quick may have typed before this script came.
  if (field.value.trim()) localStorage.setItem(KEY, field.value.trim());
  else field.value = localStorage.getItem(KEY) ?? "";
  field.addEventListener("change", () => localStorage.setItem(KEY, field.value.trim()));
  session.then(() => { label.hidden = isSignedIn; });
}
