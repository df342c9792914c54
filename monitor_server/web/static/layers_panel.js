// The panel of a run's layers: which signal of them, and its heat map. Asked for only where somebody looks.

import { read } from "./api.js";
import { choices } from "./elements.js";
import { HeatMap } from "./heat_map.js";

const SIGNALS = [["grad_norm", "Gradient norm"], ["param_norm", "Parameter norm"], ["update_ratio", "Update ratio"], ["zero_grads", "Zero gradients"]];

export class LayersPanel {
  /** `panel`: hidden until there is something; it holds `buttons` and `map`. */
  constructor(panel, buttons, map, runId) {
    this.panel = panel;
    this.runId = runId;
    this.signal = "grad_norm";
    this.map = new HeatMap(map);
    this.told = null;
    choices(buttons, SIGNALS, this.signal, (chosen) => { this.signal = chosen; if (this.told) this.refresh(...this.told); });
  }

  async refresh(run, attempts, range, abort) {
    this.told = [run, attempts, range];
    const asked = range ? `&from_step=${range[0]}&to_step=${range[1]}` : "";
    const signal = this.signal;
    const answer = await read(`/runs/${this.runId}/layers?signal=${signal}${asked}`, abort);
    if (signal !== this.signal) return;
    if (answer.layers.length) this.panel.hidden = false;
    this.map.draw(answer, run, attempts);
  }
}
