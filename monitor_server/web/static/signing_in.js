// Where the service asks for a token: it keeps the browser in mind by a cookie that no script can read.

const PAGE = "/sign-in";

/** Go to the page that asks for a token, and from there back to here. */
export function signInAgain() {
  if (location.pathname === PAGE) return;
  location.assign(`${PAGE}#${encodeURIComponent(location.pathname + location.search + location.hash)}`);
}

/** Where to go after signing in: a page of ours, never another site. */
export function cameFrom() {
  let told = "";
  try {
    told = decodeURIComponent(location.hash.slice(1));
  } catch {
    return "/";  // no address of ours
  }
  return /^\/(?![/\\])/.test(told) ? told : "/";
}
