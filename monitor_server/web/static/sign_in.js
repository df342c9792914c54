// The page that asks for a token, and goes back to where it was wanted.

import { read, send } from "./api.js";
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
  location.assign("/");
});
read("/session").then(() => { leave.hidden = false; }, () => {});
