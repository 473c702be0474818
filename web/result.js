/** What a node shows of its last run, in place of the page's own preview. Where it has nothing to show, that is left alone. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { adopt, chain, guard, setVisible } from "./dom.js";
import { executionId, locator, placesOf } from "./graph.js";

const LOWEST = 80;
const HIGHEST = 720;
const LIVE_PREVIEWS = ["$$canvas-image-preview", "$$comfy_animation_preview"]; // the page's own widgets
const VIDEO_PREVIEW = "video-preview";
const LATE = 1000; // ms

/** Kinds give `element`, `stage` (where the picture is) and `open(output)`, which says whether there is something to show. What is shown `stays`
 * while the next is made, or the page shows the pictures of the run beside it. */
export class Result {
  constructor(node, { controlsHeight, shape, stays = false }) {
    Object.assign(this, { node, controlsHeight, shape, stays, ready: false, shown: null });
  }

  attach(name) {
    const { node } = this;
    guard(this.element);
    this.stage.style.setProperty("--dva-shape", 1 / this.shape);
    this.widget = node.addDOMWidget(name, name, this.element, {
      serialize: false,
      hideOnZoom: false,
      getMinHeight: () => this.minHeight(),
    });
    this.widget.serialize = false;
    setVisible(this.widget, false);
    adopt(node, this.element);
    chain(node, "onExecuted", (output) => this.show(output));
    chain(node, "onRemoved", () => this.close());
    // results outlive the node's element: going to another workflow and back makes the node anew
    for (const event of ["onAdded", "onConfigure"]) chain(node, event, () => setTimeout(() => this.show(this.kept())));
    const draw = node.onDrawBackground;
    node.onDrawBackground = (...args) => {
      const kept = this.kept();
      if (kept && kept !== this.shown) this.show(kept);
      if (!this.ready || !this.stays) draw?.apply(node, args);
    };
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
    setVisible(this.widget, ready);
    this.element.classList.toggle("dva-ready", ready);
    for (const widget of this.node.widgets) if (widget.name === VIDEO_PREVIEW) setVisible(widget, !ready); // of a run without `before`
    this.fit();
  }

  /** On the canvas: away with the pictures of the run, which the page would go on showing; its own preview only where it is needed. */
  settle(output) {
    const { node } = this;
    if (this.shown !== output || !node.graph || window.LiteGraph?.vueNodesMode) return;
    const pictures = app.nodePreviewImages ?? {};
    for (const url of pictures[locator(node)] ?? []) URL.revokeObjectURL(url);
    delete pictures[locator(node)];
    for (const name of LIVE_PREVIEWS) {
      const at = node.widgets.findIndex((widget) => widget.name === name);
      if (at >= 0) node.widgets.splice(at, 1)[0].onRemove?.();
    }
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

  fit() {
    const { node } = this;
    if (!node.graph) return;
    const needed = node.computeSize()[1];
    if (node.size[1] < needed) node.setSize([node.size[0], needed]);
    node.graph.setDirtyCanvas(true, true);
  }
}

/** Where the server hands out a file that a node has named. */
export function viewed({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder: subfolder ?? "", type: type ?? "temp" })}`);
}
