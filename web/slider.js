/** A slider for a signed number, drawn from zero. No <input type=range>: the page's undo keys do not work while one has the focus. */

import { el } from "./dom.js";

const STEP = 0.05;
const KEYS = { ArrowRight: STEP, ArrowUp: STEP, ArrowLeft: -STEP, ArrowDown: -STEP, PageUp: 5 * STEP, PageDown: -5 * STEP };

/** {element, set(value)}; `onMove(value)` while it is dragged, `onChange(value)` when it is let go and at every key.
 * It stops every 0.05 (every 0.01 with Shift), or anywhere when it is `fine`. */
export function slider({ label, range: [low, high], onMove, onChange, fine = false }) {
  const fill = el("span", { class: "dva-fill" });
  const thumb = el("span", { class: "dva-thumb" });
  const element = el(
    "div",
    { class: "dva-slider", role: "slider", tabindex: "0", "aria-label": label, "aria-valuemin": low, "aria-valuemax": high },
    el("span", { class: "dva-zero" }),
    fill,
    thumb,
  );
  const part = (value) => (100 * (Math.max(low, Math.min(high, value)) - low)) / (high - low);
  element.firstChild.style.left = `${part(0)}%`;
  const disabled = () => element.getAttribute("aria-disabled") === "true";
  let now = 0;

  function set(value) {
    now = value;
    const [from, to] = [part(0), part(value)];
    Object.assign(fill.style, { left: `${Math.min(from, to)}%`, width: `${Math.abs(to - from)}%` });
    thumb.style.left = `${to}%`;
    element.setAttribute("aria-valuenow", value);
  }

  function drag(event) {
    const box = element.getBoundingClientRect();
    const value = low + ((event.clientX - box.left) / box.width) * (high - low);
    const steps = fine ? 1e4 : event.shiftKey ? 100 : 1 / STEP;
    set(Math.max(low, Math.min(high, Math.round(value * steps) / steps)) + 0);
    onMove(now);
  }

  const end = () => {
    element.onpointermove = null;
    onChange(now);
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || disabled()) return;
    element.setPointerCapture(event.pointerId);
    element.onpointermove = drag;
    element.addEventListener("lostpointercapture", end, { once: true });
    drag(event);
  });
  element.addEventListener("dblclick", () => disabled() || (set(0), onMove(0), onChange(0)));
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || disabled()) return;
    const moved = event.key in KEYS ? now + KEYS[event.key] * (event.shiftKey ? 0.2 : 1) : { Home: low, End: high, Delete: 0, Backspace: 0, 0: 0 }[event.key];
    if (moved === undefined) return;
    event.preventDefault();
    set(Math.max(low, Math.min(high, Math.round(moved * 100) / 100)) + 0);
    onMove(now);
    onChange(now);
  });
  set(0);
  return { element, set };
}
