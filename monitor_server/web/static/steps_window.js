// Which steps are looked at: shared by every chart of a page, kept in the address so that it can be sent to others.

import { element } from "./elements.js";
import { count } from "./words.js";

const NARROWEST = 10;

export class StepsWindow {
  /** `place` gets the buttons; `changed(range)` is told of [from, to] or null for all steps. */
  constructor(place, changed) {
    this.changed = changed;
    this.range = rangeIn(location.hash);
    this.whole = [0, 1];
    this.words = element("span.dim.window-words", { "aria-live": "polite" });
    const button = (label, words, work) => {
      const made = element("button", { type: "button", "aria-label": label, title: label }, words);
      made.addEventListener("click", work);
      return made;
    };
    this.reset = button("Show all steps", "All steps", () => this.set(null));
    place.append(
      this.words,
      element("span.choices.small", { role: "group", "aria-label": "Steps shown" },
        button("Earlier steps", "←", () => this.move(-0.5)),
        button("Fewer steps", "+", () => this.scale(0.5)),
        button("More steps", "−", () => this.scale(2)),
        button("Later steps", "→", () => this.move(0.5)),
        this.reset));
    addEventListener("hashchange", () => this.set(rangeIn(location.hash)));
    this.tell();
  }

  /** The steps there are, for the buttons and the words. */
  knows(first, last) {
    this.whole = [first, Math.max(last, first + 1)];
    this.tell();
  }

  set(range) {
    if (String(range) === String(this.range)) return;
    this.range = range;
    history.replaceState(null, "", range ? `#steps=${range[0]}-${range[1]}` : location.pathname + location.search);
    this.tell();
    this.changed(range);
  }

  move(share) {
    const [from, to] = this.range ?? this.whole;
    const by = Math.round(Math.max(-from, share * (to - from)));
    if (this.range) this.set([from + by, to + by]);
  }

  scale(factor) {
    const [from, to] = this.range ?? this.whole;
    const half = Math.max(NARROWEST, (to - from) * factor) / 2;
    const middle = (from + to) / 2;
    const wanted = [Math.max(0, Math.round(middle - half)), Math.round(middle + half)];
    const coversAll = wanted[0] <= this.whole[0] && wanted[1] >= this.whole[1];
    this.set(coversAll ? null : wanted);
  }

  tell() {
    const [from, to] = this.range ?? this.whole;
    this.words.textContent = this.range ? `steps ${count(from)} to ${count(to)}` : "all steps; drag in a chart to zoom";
    this.reset.disabled = this.range === null;
  }
}

function rangeIn(hash) {
  const found = /^#steps=(\d{1,15})-(\d{1,15})$/.exec(hash);
  if (!found || Number(found[1]) >= Number(found[2])) return null;
  return [Number(found[1]), Number(found[2])];
}
