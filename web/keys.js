/** The keys of a strength that changes over time, on a small plot: time to the right, strength upwards. */

import { button, el } from "./dom.js";
import { round } from "./scales.js";
import { text } from "./text.js";

const SHAPES = ["linear", "smooth"];
const SHAPE_NAMES = { linear: "panel.linear", smooth: "panel.smooth" };
const TIME = /^\s*(\d+(?:\.\d*)?|\.\d+)\s*([sf]?)\s*$/i;
const ROOM = 1.25; // of the last key: how far the plot goes
const SHORTEST = { s: 2, f: 50 };
const STEP = { s: 0.01, f: 1 };
const SAMPLES = 96;

/** {keys: [[time, strength]], unit, shape} of a curve as it stands in the JSON, or of a number (one key); null where this editor cannot show it
 * (seconds and frames in one curve, or what is no curve). */
export function readKeys(value) {
  if (typeof value === "number") return { keys: [[0, value]], unit: "s", shape: "smooth" };
  if (value === null || typeof value !== "object") return null;
  const entries = Array.isArray(value) ? value.map((strength, frame) => [String(frame), strength]) : Object.entries(value).filter(([when]) => when !== "curve");
  const found = entries.map(([when, strength]) => [TIME.exec(when), strength]);
  if (!found.length || found.some(([when, strength]) => !when || typeof strength !== "number")) return null;
  const units = new Set(found.map(([when]) => (when[2].toLowerCase() === "s" ? "s" : "f")));
  const shape = Array.isArray(value) ? "linear" : value.curve ?? "linear";
  if (units.size > 1 || !SHAPES.includes(shape)) return null;
  return { keys: found.map(([when, strength]) => [Number(when[1]), strength]).sort((a, b) => a[0] - b[0]), unit: [...units][0], shape };
}

/** As it stands in the JSON; a single key is a number. */
export function writeKeys({ keys, unit, shape }) {
  if (keys.length === 1) return keys[0][1];
  const curve = Object.fromEntries(keys.map(([time, strength]) => [unit === "s" ? `${time}s` : String(time), strength]));
  return shape === "linear" ? curve : { ...curve, curve: shape };
}

/** The strength at a time; as dva_core.edit.curves draws it. */
export function strengthAt({ keys, shape }, time) {
  const next = keys.findIndex(([at]) => at > time);
  if (next === 0 || keys.length === 1) return keys[0][1];
  if (next < 0) return keys.at(-1)[1];
  const [[x0, y0], [x1, y1]] = [keys[next - 1], keys[next]];
  const t = (time - x0) / (x1 - x0);
  if (shape === "linear") return y0 + (y1 - y0) * t;
  const [before, after] = [slope(keys, next - 1), slope(keys, next)];
  return y0 + (y1 - y0) * t * t * (3 - 2 * t) + (x1 - x0) * t * (1 - t) * (before * (1 - t) - after * t);
}

function slope(keys, i) {
  if (i === 0 || i === keys.length - 1) return 0;
  const [before, after] = [-1, 0].map((d) => (keys[i + d + 1][1] - keys[i + d][1]) / (keys[i + d + 1][0] - keys[i + d][0]));
  return before * after > 0 ? (2 * before * after) / (before + after) : 0;
}

/** {element, set(value)}; `onMove(value)` while a key is dragged, `onChange(value)` when it is let go and at every other change. A value that it cannot
 * show is left alone: only the text changes it. */
export function keyEditor(value, range, { onMove, onChange }) {
  let state = readKeys(value);
  let chosen = 0;
  let length = 0; // of the plot, in seconds or frames
  let told = JSON.stringify(value);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const [zero, path] = ["line", "path"].map((kind) => svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", kind)));
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  const plot = el("div", { class: "dva-plot", title: text("panel.keys_hint") }, svg);
  const end = el("span");
  const ends = el("div", { class: "dva-ends" }, el("span", { text: "0" }), end);
  const field = (key, step, change) => {
    const input = el("input", { class: "dva-number", type: "number", step, "aria-label": text(key), title: text(key) });
    input.addEventListener("change", () => input.value !== "" && change(Number(input.value)));
    return input;
  };
  const time = field("panel.key_time", "any", (at) => move(chosen, at, state.keys[chosen][1], true));
  const strength = field("panel.key_strength", "0.05", (to) => move(chosen, state.keys[chosen][0], to, true));
  const unit = el("span");
  const shapes = SHAPES.map((shape) => button(text(SHAPE_NAMES[shape]), text(SHAPE_NAMES[shape]), () => ((state.shape = shape), say(onChange)), { class: "dva-button dva-shape" }));
  const remove = button("−", text("panel.key_remove"), () => drop(chosen), { class: "dva-button dva-key-remove" });
  const fields = el("div", { class: "dva-fields" }, time, unit, strength, remove, ...shapes);
  const other = el("div", { text: text("panel.keys_text") });
  const element = el("div", { class: "dva-keys" }, plot, ends, fields, other);

  const [low, high] = range;
  const across = (at) => (100 * at) / length;
  const down = (to) => (100 * (high - Math.max(low, Math.min(high, to)))) / (high - low);
  const fit = () => (length = Math.max(length, SHORTEST[state.unit], ROOM * state.keys.at(-1)[0]));

  function say(tell) {
    draw();
    const now = writeKeys(state);
    told = JSON.stringify(now);
    tell(now);
  }

  /** A key elsewhere; it stays between its neighbours. */
  function move(index, at, to, done = false) {
    const step = STEP[state.unit];
    const [first, last] = [state.keys[index - 1]?.[0] + step || 0, state.keys[index + 1]?.[0] - step || Infinity];
    const exact = Math.round(at / step) * step;
    state.keys[index] = [Number(Math.max(first, Math.min(last, exact)).toFixed(2)), round(to)];
    if (done) fit();
    say(done ? onChange : onMove);
  }

  function add(at, to) {
    const step = STEP[state.unit];
    const exact = Number((Math.round(at / step) * step).toFixed(2));
    if (state.keys.some(([time]) => time === exact)) return -1;
    state.keys.push([exact, round(to)]);
    state.keys.sort((a, b) => a[0] - b[0]);
    return state.keys.findIndex(([time]) => time === exact);
  }

  function drop(index) {
    if (state.keys.length === 1) return;
    state.keys.splice(index, 1);
    chosen = Math.max(0, index - 1);
    say(onChange);
    plot.querySelector(`[data-index="${chosen}"]`)?.focus({ preventScroll: true });
  }

  const place = (event) => {
    const box = plot.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * length, high - ((event.clientY - box.top) / box.height) * (high - low)];
  };

  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !state) return;
    const [at, to] = place(event);
    const index = event.target.dataset.index === undefined ? add(Math.max(0, at), to) : Number(event.target.dataset.index);
    if (index < 0) return;
    chosen = index;
    plot.setPointerCapture(event.pointerId);
    let moved = event.target.dataset.index === undefined;
    const drag = (moving) => {
      const [time, strength] = place(moving);
      moved = true;
      move(index, Math.max(0, Math.min(length, time)), Math.max(low, Math.min(high, Math.round(strength * (moving.shiftKey ? 100 : 20)) / (moving.shiftKey ? 100 : 20))));
    };
    plot.addEventListener("pointermove", drag);
    plot.addEventListener("lostpointercapture", () => (plot.removeEventListener("pointermove", drag), fit(), moved ? say(onChange) : draw()), { once: true });
    if (moved) move(index, state.keys[index][0], Math.round(to * 20) / 20);
    else draw();
    plot.querySelector(`[data-index="${index}"]`)?.focus({ preventScroll: true });
  });
  plot.addEventListener("mousedown", (event) => event.preventDefault()); // the key that is held keeps the focus
  plot.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.dataset.index === undefined) return;
    const index = (chosen = Number(event.target.dataset.index));
    const [at, to] = state.keys[index];
    const far = event.shiftKey ? 1 : 5;
    const steps = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] }[event.key];
    if (steps) move(index, Math.max(0, at + steps[0] * (state.unit === "s" ? 0.02 : 1)), Math.max(low, Math.min(high, to + steps[1] / 100)), true);
    else if (event.key === "Delete" || event.key === "Backspace") drop(index);
    else return;
    event.preventDefault();
    plot.querySelector(`[data-index="${chosen}"]`)?.focus({ preventScroll: true });
  });

  function draw() {
    for (const part of [plot, ends, fields]) part.hidden = !state;
    other.hidden = Boolean(state);
    if (!state) return;
    if (!length) fit();
    for (const [name, value] of Object.entries({ x1: 0, x2: 100, y1: down(0), y2: down(0) })) zero.setAttribute(name, value);
    const points = Array.from({ length: SAMPLES + 1 }, (_, i) => (i * length) / SAMPLES);
    for (const [at] of state.keys) points.push(at);
    path.setAttribute("d", "M" + points.sort((a, b) => a - b).map((at) => `${across(at)} ${down(strengthAt(state, at))}`).join("L"));
    while (plot.querySelectorAll(".dva-key").length > state.keys.length) plot.lastChild.remove();
    while (plot.querySelectorAll(".dva-key").length < state.keys.length) plot.append(el("button", { type: "button", class: "dva-key", role: "option" }));
    plot.querySelectorAll(".dva-key").forEach((dot, index) => {
      const [at, to] = state.keys[index];
      dot.dataset.index = index;
      Object.assign(dot.style, { left: `${across(at)}%`, top: `${down(to)}%` });
      dot.setAttribute("aria-selected", String(index === chosen));
      dot.setAttribute("aria-label", `${at} ${state.unit === "s" ? "s" : text("panel.frames")}: ${to}`);
    });
    chosen = Math.min(chosen, state.keys.length - 1);
    unit.textContent = state.unit === "s" ? "s" : text("panel.frames");
    end.textContent = `${Number(length.toFixed(2))} ${unit.textContent}`;
    [time.value, strength.value] = state.keys[chosen].map(String);
    shapes.forEach((one, i) => one.setAttribute("aria-pressed", String(SHAPES[i] === state.shape)));
    remove.disabled = state.keys.length === 1;
  }

  function set(value) {
    const now = JSON.stringify(value);
    if (now === told) return; // its own
    told = now;
    state = readKeys(value);
    length = 0;
    chosen = 0;
    draw();
  }

  draw();
  return { element, set };
}
