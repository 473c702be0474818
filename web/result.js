/** What a node shows of its last run, in place of the page's own preview. Where it has nothing to show, that is left alone. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { adopt, chain, el, guard, setVisible } from "./dom.js";
import { executionId, locator, placesOf } from "./graph.js";

const LOWEST = 80;
const HIGHEST = 720;
const LIVE_PREVIEWS = ["$$canvas-image-preview", "$$comfy_animation_preview"]; // the page's own widgets
const VIDEO_PREVIEW = "video-preview";
const LATE = 1000; // ms
const results = new Set();

/** Every node looks again what the page remembers of its last run: an extension's `onNodeOutputsUpdated`. */
export function showKept() {
  for (const result of results) result.show(result.kept());
}

/** Pictures of a run are shown over what is to be replaced, and gone when it ends, however it ends. */
export function watchRuns() {
  const of = (id) => [...results].filter(({ node }) => placesOf(node).some((place) => executionId(place) === String(id)));
  api.addEventListener("b_preview_with_metadata", ({ detail }) => of(detail.displayNodeId ?? detail.nodeId).forEach((result) => result.showLive(detail.blob)));
  for (const event of ["executing", "execution_success", "execution_error", "execution_interrupted"]) {
    api.addEventListener(event, () => results.forEach((result) => result.showLive(null)));
  }
}

/** Kinds give `element`, `stage` (where the picture is) and `open(output)`, which says whether there is something to show. What is shown `stays`
 * as it is while the next is made, or the pictures of the run cover it. */
export class Result {
  constructor(node, { controlsHeight, shape, stays = false }) {
    Object.assign(this, { node, controlsHeight, shape, stays, ready: false, shown: null });
    this.live = el("img", { class: "dva-working", alt: "", hidden: "" });
  }

  attach(name) {
    const { node } = this;
    guard(this.element);
    if (!this.stays) this.stage.append(this.live);
    this.stage.style.setProperty("--dva-shape", 1 / this.shape);
    this.widget = node.addDOMWidget(name, name, this.element, {
      serialize: false,
      hideOnZoom: false,
      getMinHeight: () => this.minHeight(),
    });
    this.widget.serialize = false;
    setVisible(this.widget, false);
    adopt(node, name, this.element);
    chain(node, "onExecuted", (output) => this.show(output));
    chain(node, "onAdded", () => results.add(this));
    chain(node, "onRemoved", () => (results.delete(this), this.close()));
    // results outlive the node's element: going to another workflow and back makes the node anew
    for (const event of ["onAdded", "onConfigure"]) chain(node, event, () => setTimeout(() => this.show(this.kept())));
    this.holdBack();
  }

  /** On the canvas the page draws its own preview over the node, and has no switch for that (nodes of HTML: dva.css). */
  holdBack() {
    const { node } = this;
    const draw = node.onDrawBackground;
    node.onDrawBackground = (...args) => this.ready || draw?.apply(node, args);
  }

  /** A picture of the run, or none. */
  showLive(blob) {
    if (this.live.src) URL.revokeObjectURL(this.live.src);
    this.live.hidden = !blob || !this.ready || this.stays;
    if (this.live.hidden) this.live.removeAttribute("src");
    else this.live.src = URL.createObjectURL(blob);
  }

  open() {
    return false;
  }

  close() {}

  /** What the page remembers of the node's last run: under its own id of the node or, of a workflow that was left, the server's. */
  kept() {
    const { node } = this;
    const outputs = app.nodeOutputs ?? {};
    if (!node.graph || (node.graph.rootGraph ?? node.graph) !== app.graph) return null;
    return outputs[locator(node)] ?? placesOf(node).map((place) => outputs[executionId(place)]).find(Boolean) ?? null;
  }

  show(output) {
    if (!output || output === this.shown || !this.node.graph) return;
    this.shown = output;
    this.setReady(this.open(output));
    this.settle(output);
    setTimeout(() => this.settle(output), LATE); // the last picture of the run may still have been loading
  }

  /** It cannot be shown: the page may try. */
  giveUp() {
    this.setReady(false);
    this.settle(this.shown);
  }

  setReady(ready) {
    if (!ready) this.close();
    this.ready = ready;
    this.showLive(null);
    setVisible(this.widget, ready);
    this.element.classList.toggle("dva-ready", ready);
    this.fit();
  }

  /** On the canvas: away with the pictures of the run, which the page would go on showing; its own preview only where it is needed. */
  settle(output) {
    const { node } = this;
    if (this.shown !== output || !node.graph || window.LiteGraph?.vueNodesMode) return;
    dropPictures(locator(node));
    for (const name of LIVE_PREVIEWS) {
      const at = node.widgets.findIndex((widget) => widget.name === name);
      if (at >= 0) node.widgets.splice(at, 1)[0].onRemove?.();
    }
    for (const widget of node.widgets) if (widget.name === VIDEO_PREVIEW) setVisible(widget, !this.ready); // of a run without `before`
    node.imgs = undefined;
    node.images = this.ready ? output.images : undefined; // what the page takes for shown already
    this.fit();
  }

  setShape(width, height) {
    if (!width || this.shape === height / width) return;
    this.shape = height / width;
    this.stage.style.setProperty("--dva-shape", `${width} / ${height}`);
    this.fit();
  }

  minHeight() {
    return Math.max(LOWEST, Math.min(HIGHEST, (this.node.size[0] - 20) * this.shape) + this.controlsHeight);
  }

  /** The node is as high as what it shows needs, and shrinks again when that was all that made it high. */
  fit() {
    const { node } = this;
    if (!node.graph) return;
    const needed = node.computeSize()[1];
    const snug = this.fitted !== undefined && node.size[1] <= this.fitted + 2;
    if (node.size[1] < needed || (snug && needed < node.size[1])) node.setSize([node.size[0], needed]);
    this.fitted = needed;
    node.graph.setDirtyCanvas(true, true);
  }
}

/** Away with the pictures of a run. Pages of 2026 keep them in a store of their own and read no others. */
function dropPictures(id) {
  const store = app.extensionManager?._p?._s?.get("nodeOutput");
  if (store?.revokePreviewsByLocatorId) return store.revokePreviewsByLocatorId(id);
  const pictures = app.nodePreviewImages ?? {};
  for (const url of pictures[id] ?? []) URL.revokeObjectURL(url);
  delete pictures[id];
}

/** Where the server hands out a file that a node has named. */
export function viewed({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder: subfolder ?? "", type: type ?? "temp" })}`);
}
