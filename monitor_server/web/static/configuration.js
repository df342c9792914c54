// A configuration of any depth as a table: one line per value, under its path.

import { element } from "./elements.js";

export function configuration(config) {
  const lines = [...flattened(config)];
  if (lines.length === 0) return element("p.dim", {}, "The trainer told none.");
  return element("table.pairs", {}, element("tbody", {}, lines.map(([path, value]) => element("tr", {},
    element("th", { scope: "row" }, path), element("td", {}, value)))));
}

/** [path, text] of every value: { a: { b: 1 } } gives ["a.b", "1"]. */
export function* flattened(value, path = "") {
  if (value === null || typeof value !== "object") {
    yield [path, typeof value === "string" ? value : JSON.stringify(value)];
    return;
  }
  if (Array.isArray(value) && value.every((one) => one === null || typeof one !== "object")) {
    yield [path, value.map((one) => typeof one === "string" ? one : JSON.stringify(one)).join(", ")];
    return;
  }
  for (const [name, inner] of Object.entries(value)) yield* flattened(inner, path ? `${path}.${name}` : name);
}
