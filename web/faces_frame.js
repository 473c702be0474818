/** The frame on Choose Faces: pictures of a video under a scrubber, with a button around every face that was found. */

import { button, el, icon } from "./dom.js";
import { viewed } from "./result.js";
import { slider } from "./slider.js";
import { text } from "./text.js";

const COLOURS = ["#4a8cf0", "#f0963c", "#50be78", "#dc5aaa", "#e1c83c", "#50c3d7", "#a582f0", "#e65555"]; // as in pipeline/people_sheet.py
const ICONS = { back: "M11 2v12L4 8z", next: "M5 2v12l7-6z" };

/** The colour of a person. */
export function colour(number) {
  return COLOURS[(number - 1) % COLOURS.length];
}

/** How a person is read aloud. */
export function label(number, name) {
  return name ? text("faces.person_named", { number, name }) : text("faces.person", { number });
}

/** `toggle(number)` is called by a click on a face, `moved()` when another frame is shown or its shape is known. */
export class FrameView {
  constructor({ toggle, moved }) {
    Object.assign(this, { toggle, moved, found: null, folder: null, at: 0, boxes: [], shape: 9 / 16 });
    this.picture = el("img", { alt: "", draggable: "false" });
    this.picture.addEventListener("load", () => this.setShape(this.picture.naturalWidth, this.picture.naturalHeight));
    this.stage = el("div", { class: "dva-stage dva-frame", role: "group", "aria-label": text("faces.frame") }, this.picture);
    const back = button("", text("faces.back"), () => this.seek(this.at - 1), { class: "dva-button dva-step-back" });
    const next = button("", text("faces.next"), () => this.seek(this.at + 1), { class: "dva-button dva-step" });
    back.append(icon(ICONS.back));
    next.append(icon(ICONS.next));
    const seek = (part) => this.seek(Math.round(part * (this.pictures.length - 1)));
    this.scrubber = slider({ label: text("faces.seek"), range: [0, 1], onMove: seek, onChange: seek, fine: true });
    this.scrubber.element.classList.add("dva-seek");
    this.scrubber.element.addEventListener("keydown", (event) => this.step(event), { capture: true });
    this.marks = el("span", { class: "dva-marks" });
    this.scrubber.element.append(this.marks);
    this.time = el("span", { class: "dva-time" });
    this.controls = el("div", { class: "dva-controls" }, back, next, this.scrubber.element, this.time);
  }

  get pictures() {
    return this.found?.pictures ?? [];
  }

  get frame() {
    return this.pictures[this.at] ?? 0;
  }

  /** The number of the shot that the frame is in, from 1. */
  get shot() {
    return 1 + Math.max(0, this.found?.shots.findIndex(([first, last]) => first <= this.frame && this.frame <= last) ?? 0);
  }

  /** Shows the frame with most people, of what was found. `folder`: where the server has the pictures. */
  open(found, folder) {
    Object.assign(this, { found, folder });
    const share = (frame) => `${(100 * this.pictures.findIndex((one) => one >= frame)) / Math.max(1, this.pictures.length - 1)}%`;
    const marks = found.shots.slice(1).map(([first]) => el("span", { class: "dva-mark", style: `left: ${share(first)}` }));
    this.marks.replaceChildren(...marks);
    this.seek(Math.max(0, found.pictures.indexOf(found.busiest)));
  }

  seek(at) {
    if (!this.pictures.length) return;
    this.at = Math.max(0, Math.min(this.pictures.length - 1, at));
    this.picture.src = viewed({ filename: `frame_${String(this.frame).padStart(6, "0")}.jpg`, ...this.folder });
    for (const { element } of this.boxes) element.remove();
    this.boxes = this.found.people.flatMap((person) => this.box(person));
    this.stage.append(...this.boxes.map(({ element }) => element));
    this.scrubber.set(this.pictures.length > 1 ? this.at / (this.pictures.length - 1) : 0);
    const { frames, shots } = this.found;
    const shot = shots.length > 1 ? ` · ${text("faces.shot_of", { shot: this.shot, shots: shots.length })}` : "";
    this.time.textContent = text("faces.frame_of", { frame: this.frame, frames }) + shot;
    this.scrubber.element.setAttribute("aria-valuetext", this.time.textContent);
    this.moved();
  }

  /** The button around a person's face; none where the person is not in the frame. */
  box({ number, frames, boxes }) {
    const [x0, y0, x1, y1] = boxes[frames.indexOf(this.frame)] ?? [];
    if (x0 === undefined) return [];
    const element = el("button", { type: "button", class: "dva-box", on: { click: () => this.toggle(number) } }, el("span", { class: "dva-badge" }));
    const { width, height } = this.found;
    const part = (value, whole) => `${(100 * value) / whole}%`;
    Object.assign(element.style, { left: part(x0, width), top: part(y0, height), width: part(x1 - x0, width), height: part(y1 - y0, height) });
    element.style.setProperty("--dva-person", colour(number));
    return [{ number, element }];
  }

  /** Who is meant in this frame, and what people are called. */
  mark(meant, names, off) {
    for (const { number, element } of this.boxes) {
      const name = names[number] ?? "";
      element.classList.toggle("dva-chosen", meant.includes(number));
      element.setAttribute("aria-pressed", String(meant.includes(number)));
      element.setAttribute("aria-label", label(number, name));
      element.firstChild.textContent = name ? `${number} ${name}` : number;
      element.disabled = off;
    }
  }

  /** The face of somebody stands out; null for nobody. */
  point(number) {
    for (const box of this.boxes) box.element.classList.toggle("dva-pointed", box.number === number);
  }

  /** Keys of the scrubber: from picture to picture; with Shift, from shot to shot. */
  step(event) {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const shot = event.shiftKey ? this.found?.shots[this.shot - 1 + by] : null; // there is one for steps of 1 only
    this.seek(shot ? this.pictures.findIndex((frame) => frame >= shot[0]) : this.at + by);
  }

  setShape(width, height) {
    if (!width) return;
    this.shape = height / width;
    this.stage.style.setProperty("--dva-shape", `${width} / ${height}`);
    this.moved();
  }
}
