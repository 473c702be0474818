/** Before and after on Decode DDIM: two videos under one divider. Without both, the page's own preview is left to show the result. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { adopt, button, chain, el, guard, icon, setVisible } from "./dom.js";
import { Pair } from "./pair.js";
import { slider } from "./slider.js";
import { text } from "./text.js";

const CONTROLS_HEIGHT = 28 + 20; // with the widget's margins
const LOWEST = 80;
const STEP = 2;
const LIVE_PREVIEWS = ["$$canvas-image-preview", "$$comfy_animation_preview"]; // the page's own widgets
const VIDEO_PREVIEW = "video-preview";
const LATE = 1000; // ms
const ICONS = {
  play: "M4 2l9 6-9 6z",
  pause: "M4 2h3v12H4zM9 2h3v12H9z",
  back: "M3 2h2v12H3zM13 2v12L6 8z",
  next: "M11 2h2v12h-2zM3 2v12l7-6z",
  loop: "M8 2a6 6 0 1 0 6 6h-2a4 4 0 1 1-4-4v3l5-4-5-4z",
  mute: "M1 6h3l4-4v12l-4-4H1zM10 5l5 5-1 1-5-5zM14 5l1 1-5 5-1-1z",
  sound: "M1 6h3l4-4v12l-4-4H1zM10 4a4 4 0 0 1 0 8v-2a2 2 0 0 0 0-4z",
};

export function addPlayer(node) {
  new Player(node).attach();
}

class Player {
  constructor(node) {
    Object.assign(this, { node, ready: false, shown: null, shape: 9 / 16 });
    this.pair = new Pair(() => this.tick(), () => this.giveUp());
    this.divider = el("div", { class: "dva-divider", role: "slider", tabindex: "0", "aria-label": text("player.divider"), "aria-valuemin": 0, "aria-valuemax": 100 });
    const tags = ["before", "after"].map((side) => el("span", { class: `dva-tag dva-tag-${side}`, text: text(`player.${side}`) }));
    this.stage = el("div", { class: "dva-stage" }, this.pair.before, this.pair.after, ...tags, this.divider);
    this.playing = button("", text("player.play"), () => (this.pair.playing ? this.pair.pause() : this.pair.play()), { class: "dva-button dva-play" });
    const back = button("", text("player.back"), () => this.pair.step(-1), { class: "dva-button dva-step-back" });
    const next = button("", text("player.next"), () => this.pair.step(1), { class: "dva-button dva-step" });
    this.loop = button("", text("player.loop"), () => ((this.pair.loop = !this.pair.loop), this.tick()), { class: "dva-button dva-loop" });
    this.mute = button("", text("player.mute"), () => ((this.pair.after.muted = !this.pair.after.muted), this.tick()), { class: "dva-button dva-mute" });
    back.append(icon(ICONS.back));
    next.append(icon(ICONS.next));
    this.loop.append(icon(ICONS.loop));
    const seek = (part) => this.pair.seek(part * this.pair.duration);
    this.seek = slider({ label: text("player.seek"), range: [0, 1], onMove: seek, onChange: seek, fine: true });
    this.seek.element.classList.add("dva-seek");
    this.time = el("span", { class: "dva-time" });
    const controls = el("div", { class: "dva-controls" }, this.playing, back, next, this.seek.element, this.time, this.loop, this.mute);
    this.element = el("div", { class: "dva-player", role: "group", "aria-label": text("player.title") }, this.stage, controls);
    this.pair.after.muted = true; // sound when it is asked for
    this.listen();
    guard(this.element);
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
      const keys = { ",": () => this.pair.step(-1), ".": () => this.pair.step(1), " ": () => this.playing.click() };
      if (!keys[event.key] || (event.key === " " && event.target.matches("button"))) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  attach() {
    const { node } = this;
    this.widget = node.addDOMWidget("dva_player", "dva_player", this.element, {
      serialize: false,
      hideOnZoom: false,
      getMinHeight: () => this.minHeight(),
    });
    this.widget.serialize = false;
    setVisible(this.widget, false);
    adopt(node, this.element);
    chain(node, "onExecuted", (output) => this.show(output));
    chain(node, "onRemoved", () => this.pair.release());
    chain(node, "onExecutionStart", () => (node.animatedImages = undefined)); // so that the canvas shows pictures of the run
    // results outlive the node's element: going to another workflow and back makes the node anew
    for (const event of ["onAdded", "onConfigure"]) chain(node, event, () => setTimeout(() => this.show(this.kept())));
    const draw = node.onDrawBackground;
    node.onDrawBackground = (...args) => {
      const kept = this.kept();
      if (kept && kept !== this.shown) this.show(kept);
      draw?.apply(node, args);
    };
  }

  /** What the page remembers of the node's last run. */
  kept() {
    return this.node.graph === app.graph ? app.nodeOutputs?.[this.node.id] : null;
  }

  show(output) {
    if (!output || output === this.shown || !this.node.graph) return;
    this.shown = output;
    const [after, before] = [output.images?.[0], output.dva_before?.[0]];
    this.pair.release();
    const comparable = Boolean(after && before && output.animated?.[0]);
    if (comparable) this.pair.open(viewed(before), viewed(after), output.dva_rate?.[0]);
    this.setReady(comparable);
    this.settle(output);
    setTimeout(() => this.settle(output), LATE); // the last picture of the run may still have been loading
  }

  /** A video cannot be played: the page may try. */
  giveUp() {
    this.setReady(false);
    this.settle(this.shown);
  }

  setReady(ready) {
    if (!ready) this.pair.release();
    this.ready = ready;
    setVisible(this.widget, ready);
    this.element.classList.toggle("dva-ready", ready);
    for (const widget of this.node.widgets) if (widget.name === VIDEO_PREVIEW) setVisible(widget, !ready); // of a run without `before`
    this.tick();
    this.fit();
  }

  /** On the canvas: away with the pictures of the run, which the page would go on showing; its own preview only where it is needed. */
  settle(output) {
    const { node } = this;
    if (this.shown !== output || !node.graph || window.LiteGraph?.vueNodesMode) return;
    for (const url of app.nodePreviewImages?.[node.id] ?? []) URL.revokeObjectURL(url);
    delete app.nodePreviewImages?.[node.id];
    for (const name of LIVE_PREVIEWS) {
      const at = node.widgets.findIndex((widget) => widget.name === name);
      if (at >= 0) node.widgets.splice(at, 1)[0].onRemove?.();
    }
    node.imgs = undefined;
    node.images = this.ready ? output.images : undefined; // what the page takes for shown already
    this.fit();
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
    const { videoWidth, videoHeight } = pair.after;
    if (videoWidth && this.shape !== videoHeight / videoWidth) {
      this.shape = videoHeight / videoWidth;
      this.stage.style.setProperty("--dva-shape", `${videoWidth} / ${videoHeight}`);
      this.fit();
    }
  }

  setDivider(position) {
    this.position = Math.round(Math.max(0, Math.min(100, position)) * 10) / 10;
    this.stage.style.setProperty("--dva-divider", `${this.position}%`);
    this.divider.setAttribute("aria-valuenow", this.position);
  }

  minHeight() {
    return Math.max(LOWEST, Math.min(720, (this.node.size[0] - 20) * this.shape) + CONTROLS_HEIGHT);
  }

  fit() {
    const { node } = this;
    if (!node.graph) return;
    const needed = node.computeSize()[1];
    if (node.size[1] < needed) node.setSize([node.size[0], needed]);
    node.graph.setDirtyCanvas(true, true);
  }
}

/** Where the server hands out a file that a node has named. */
function viewed({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder: subfolder ?? "", type: type ?? "temp" })}`);
}
