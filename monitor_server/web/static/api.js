// The API as the pages use it: JSON in, numbers that may be NaN made numbers again, errors made sentences.

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
export async function read(path, signal) {
  const response = await fetch(`/api/v1${path}`, { headers: { accept: "application/json" }, signal });
  const told = Date.parse(response.headers.get("date") ?? "");
  if (!Number.isNaN(told)) clockAhead = told / 1000 - Date.now() / 1000;
  const body = await response.json();
  if (!response.ok) throw new ApiError(response.status, body.code, body.detail);
  return body;
}

/** JSON has no NaN: the wire writes "NaN", "Infinity" and "-Infinity". null means: not measured. */
export function number(value) {
  return value === null || value === undefined ? null : Number(value);
}
