// Elements from data. Everything that came from a trainer becomes a text node: a run named <script> is only a name.

/** element("a.name", { href: "/" }, "text", child, …); null children are left out. */
export function element(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const made = document.createElement(tag);
  made.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** One entry of a definition list. */
export function fact(name, words, title = "") {
  return element("div", { title }, element("dt", {}, name), element("dd", {}, words));
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A group of buttons of which one is pressed; `choose(value)` is told of a change. */
export function choices(place, options, chosen, choose) {
  place.replaceChildren(...options.map(([value, words]) => {
    const button = element("button", { type: "button", "aria-pressed": String(value === chosen) }, words);
    button.addEventListener("click", () => {
      for (const other of place.children) other.setAttribute("aria-pressed", String(other === button));
      choose(value);
    });
    return button;
  }));
}
