// The page that asks for a token, and goes back to where it was wanted.

import { send } from "./api.js";
import { session } from "./session.js";
import { cameFrom } from "./signing_in.js";

const form = document.getElementById("sign-in");
const field = document.getElementById("token");
const told = document.getElementById("told");
const leave = document.getElementById("leave");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await send("/session", { token: field.value.trim() });
    location.assign(cameFrom());
  } catch (error) {
    told.textContent = error.status ? error.message : "The service does not answer; try again in a moment.";
    field.select();
  }
});
leave.addEventListener("click", async () => {
  await send("/session", undefined, "DELETE");
  location.assign("/sign-in");
});
session.then((known) => {
  leave.hidden = !(known?.needs_token && known.name);
  if (known && !known.needs_token) {
    told.className = "dim";
    told.textContent = "Nobody has to sign in here.";
  }
});
