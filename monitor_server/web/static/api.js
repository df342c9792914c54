// The API as the pages use it: JSON in, numbers that may be NaN made numbers again, errors made sentences.

import { signInAgain } from "./signing_in.js";

let clockAhead = 0;

/** Seconds since 1970 by the server's clock, so that "12 s ago" is right on a laptop whose clock is wrong. */
export function serverNow() {
  return Date.now() / 1000 + clockAhead;
}

export class ApiError extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** The answer to GET /api/v1{path}. Throws ApiError for a refusal and TypeError where nobody answers. */
export function read(path, signal) {
  return ask(path, { signal });
}

/** The answer to a body sent to /api/v1{path}; null where there is none. Throws as `read` does. */
export function send(path, body, method = "POST") {
  return ask(path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
}

async function ask(path, { method = "GET", body, signal }) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(`/api/v1${path}`, { method, headers, body, signal });
  const told = Date.parse(response.headers.get("date") ?? "");
  if (!Number.isNaN(told)) clockAhead = told / 1000 - Date.now() / 1000;
  if (response.status === 401) signInAgain();
  const answer = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new ApiError(response.status, answer.code, answer.detail);
  return answer;
}

/** JSON has no NaN: the wire writes "NaN", "Infinity" and "-Infinity". null means: not measured. */
export function number(value) {
  return value === null || value === undefined ? null : Number(value);
}
