/** One attribute: its name, a slider, the exact number and a button that sets it back. */

import { button, el } from "./dom.js";
import { LARGEST, round } from "./scales.js";
import { slider } from "./slider.js";
import { attributeLabel, text } from "./text.js";

const USUAL = [-1, 1];

/** {element, name, foreign, isZero(), set(value, off)}; `onMove(scale)` while the slider is dragged, `onChange(scale)` when the user has chosen,
 * `onKeys()` when the strength is to change over time. A `foreign` attribute is not of the model, or of an `unknown` one. */
export function attributeRow({ name, space, auc, range = USUAL, foreign = false, unknown = false }, { onMove, onChange, onKeys }) {
  const label = attributeLabel(name);
  let now = 0;
  const number = el("input", { class: "dva-number", type: "number", step: "0.05", min: -LARGEST, max: LARGEST, "aria-label": label });
  const bar = slider({ label, range: range ?? USUAL, onMove: (value) => (showNumber(value), onMove(value)), onChange: choose });
  const reset = button("×", text("panel.reset", { name: label }), () => choose(0), { class: "dva-button dva-reset" });
  const overTime = button("∿", text("panel.over_time", { name: label }), onKeys, { class: "dva-button dva-over-time", "aria-expanded": "false" });
  const title = unknown ? name : foreign ? text("panel.foreign", { name }) : tooltip({ name, space, auc, range: range ?? USUAL });
  const element = el("div", { class: "dva-row", "data-name": name }, el("span", { class: "dva-name", text: label, title }), bar.element, number, overTime, reset);
  if (foreign && !unknown) element.classList.add("dva-foreign");
  number.addEventListener("change", () => choose(number.value === "" ? 0 : round(Number(number.value))));
  number.addEventListener("focus", () => number.select());

  function showNumber(value) {
    number.value = value === 0 ? "0" : String(value);
    element.classList.toggle("dva-set", value !== 0);
  }

  function choose(value) {
    set(value);
    onChange(value);
  }

  /** Shows a strength; what is no number (a curve) can only be taken out, or changed as text. */
  function set(value, off = false) {
    const curve = typeof value !== "number";
    now = value;
    bar.set(curve ? 0 : value);
    showNumber(curve ? 0 : value);
    element.classList.toggle("dva-set", value !== 0);
    element.classList.toggle("dva-curve", curve);
    element.title = curve ? text("panel.curve", { value: JSON.stringify(value) }) : "";
    number.disabled = off || curve;
    reset.disabled = overTime.disabled = off;
    bar.element.setAttribute("aria-disabled", String(off || curve));
    bar.element.tabIndex = off || curve ? -1 : 0;
  }

  return { element, name, foreign, range: range ?? USUAL, overTime, isZero: () => now === 0, set };
}

/** Name, space, how well the model's classifier tells it, and usual strengths. */
function tooltip({ name, space, auc, range }) {
  const lines = [name, text(`panel.${space}_hint`), text("panel.range", { low: range[0], high: range[1] })];
  if (typeof auc === "number") lines.push(text("panel.auc", { auc: auc.toFixed(2) }));
  return lines.join("\n");
}
