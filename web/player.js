/** Before and after on Decode DDIM: two videos under one divider. Without both, the page's own preview is left to show the result. */

import { button, el, icon } from "./dom.js";
import { Pair } from "./pair.js";
import { Result, viewed } from "./result.js";
import { slider } from "./slider.js";
import { text } from "./text.js";

const CONTROLS_HEIGHT = 28 + 20; // with the widget's margins
const STEP = 2;
const ICONS = {
  play: "M4 2l9 6-9 6z",
  pause: "M4 2h3v12H4zM9 2h3v12H9z",
  back: "M3 2h2v12H3zM13 2v12L6 8z",
  next: "M11 2h2v12h-2zM3 2v12l7-6z",
  loop: "M8 2a6 6 0 1 0 6 6h-2a4 4 0 1 1-4-4v3l5-4-5-4z",
  mute: "M1 6h3l4-4v12l-4-4H1zM10 5l5 5-1 1-5-5zM14 5l1 1-5 5-1-1z",
  full: "M2 2h5v2H4v3H2zM9 2h5v5h-2V4H9zM2 9h2v3h3v2H2zM12 9h2v5H9v-2h3z",
  save: "M7 1h2v6h3l-4 4-4-4h3zM2 12h12v2H2z",
  sound: "M1 6h3l4-4v12l-4-4H1zM10 4a4 4 0 0 1 0 8v-2a2 2 0 0 0 0-4z",
};

export function addPlayer(node) {
  new Player(node).attach("dva_player");
}

class Player extends Result {
  constructor(node) {
    super(node, { controlsHeight: CONTROLS_HEIGHT, shape: 9 / 16 });
    this.pair = new Pair(() => this.tick(), () => this.giveUp());
    this.divider = el("div", { class: "dva-divider", role: "slider", tabindex: "0", "aria-label": text("player.divider"), "aria-valuemin": 0, "aria-valuemax": 100 });
    const tags = ["before", "after"].map((side) => el("span", { class: `dva-tag dva-tag-${side}`, text: text(`player.${side}`) }));
    this.stage = el("div", { class: "dva-stage" }, this.pair.before, this.pair.after, ...tags, this.divider);
    this.playing = button("", text("player.play"), () => (this.pair.playing ? this.pair.pause() : this.pair.play()), { class: "dva-button dva-play" });
    const back = button("", text("player.back"), () => this.pair.step(-1), { class: "dva-button dva-step-back" });
    const next = button("", text("player.next"), () => this.pair.step(1), { class: "dva-button dva-step" });
    this.loop = button("", text("player.loop"), () => ((this.pair.loop = !this.pair.loop), this.tick()), { class: "dva-button dva-loop" });
    this.mute = button("", text("player.mute"), () => ((this.pair.after.muted = !this.pair.after.muted), this.tick()), { class: "dva-button dva-mute" });
    this.full = button("", text("player.full"), () => this.toggleFull(), { class: "dva-button dva-full", "aria-pressed": "false" });
    this.full.hidden = !document.fullscreenEnabled;
    this.save = el("a", { class: "dva-button dva-save", title: text("player.save"), "aria-label": text("player.save") });
    const icons = [[back, "back"], [next, "next"], [this.loop, "loop"], [this.full, "full"], [this.save, "save"]];
    for (const [control, name] of icons) control.append(icon(ICONS[name]));
    const seek = (part) => this.pair.seek(part * this.pair.duration);
    this.seek = slider({ label: text("player.seek"), range: [0, 1], onMove: seek, onChange: seek, fine: true });
    this.seek.element.classList.add("dva-seek");
    this.time = el("span", { class: "dva-time" });
    const controls = el("div", { class: "dva-controls" }, this.playing, back, next, this.seek.element, this.time, this.loop, this.mute, this.save, this.full);
    this.element = el("div", { class: "dva-player dva-result", role: "group", "aria-label": text("player.title") }, this.stage, controls);
    this.pair.after.muted = true; // sound when it is asked for
    this.listen();
    this.setDivider(50);
  }

  listen() {
    const drag = (event) => {
      const box = this.stage.getBoundingClientRect();
      this.setDivider((100 * (event.clientX - box.left)) / box.width);
    };
    this.stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.stage.setPointerCapture(event.pointerId);
      this.stage.onpointermove = drag;
      this.stage.addEventListener("lostpointercapture", () => (this.stage.onpointermove = null), { once: true });
      this.divider.focus({ preventScroll: true });
      drag(event);
    });
    this.stage.addEventListener("dblclick", () => this.setDivider(50));
    this.divider.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 5 * STEP : STEP;
      const moved = { ArrowLeft: this.position - step, ArrowRight: this.position + step, Home: 0, End: 100 }[event.key];
      if (moved === undefined || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.setDivider(moved);
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const keys = { ",": () => this.pair.step(-1), ".": () => this.pair.step(1), " ": () => this.playing.click(), f: () => this.full.click() };
      if (!keys[event.key] || (event.key === " " && event.target.matches("button, a"))) return;
      event.preventDefault();
      keys[event.key]();
    });
    this.element.addEventListener("fullscreenchange", () => this.full.setAttribute("aria-pressed", String(this.isFull)));
  }

  get isFull() {
    return document.fullscreenElement === this.element;
  }

  toggleFull() {
    const done = this.isFull ? document.exitFullscreen() : this.element.requestFullscreen();
    done.catch(() => {}); // the browser may refuse
  }

  open(output) {
    const [after, before] = [output.images?.[0], output.dva_before?.[0]];
    if (!after || !before || !output.animated?.[0]) return false;
    this.pair.open(viewed(before), viewed(after), before.rate ?? output.dva_rate?.[0]);
    this.save.href = viewed(after);
    this.save.download = after.filename;
    return true;
  }

  close() {
    if (this.isFull) this.toggleFull();
    this.pair.release();
    this.save.removeAttribute("href");
  }

  setReady(ready) {
    super.setReady(ready);
    this.tick();
  }

  tick() {
    const { pair } = this;
    this.playing.replaceChildren(icon(pair.playing ? ICONS.pause : ICONS.play));
    this.playing.title = text(pair.playing ? "player.pause" : "player.play");
    this.playing.setAttribute("aria-label", this.playing.title);
    this.loop.setAttribute("aria-pressed", String(pair.loop));
    this.mute.setAttribute("aria-pressed", String(!pair.after.muted));
    this.mute.replaceChildren(icon(pair.after.muted ? ICONS.mute : ICONS.sound));
    this.seek.set(pair.duration ? pair.after.currentTime / pair.duration : 0);
    this.time.textContent = `${pair.after.currentTime.toFixed(2)} s · ${pair.frame + 1}/${pair.frames}`;
    this.setShape(pair.after.videoWidth, pair.after.videoHeight);
  }

  setDivider(position) {
    this.position = Math.round(Math.max(0, Math.min(100, position)) * 10) / 10;
    this.stage.style.setProperty("--dva-divider", `${this.position}%`);
    this.divider.setAttribute("aria-valuenow", this.position);
  }
}
