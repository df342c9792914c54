// Who is signed in, for every page: told in the frame, and asked for where the service wants a token.

import { read } from "./api.js";
import { element } from "./elements.js";
import { signInAgain } from "./signing_in.js";

/** { needs_token, name }, or null where nobody answers. */
export const session = read("/session").catch(() => null);

session.then((told) => {
  if (!told?.needs_token) return;
  if (told.name === null) {
    if (document.body.dataset.isPublic === undefined) signInAgain();
    return;
  }
  document.getElementById("signed-in").replaceChildren(element("a", { href: "/sign-in", title: "Sign out, or as somebody else" }, told.name));
});
