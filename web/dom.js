/** Elements that live on a node: making them, and keeping the canvas out of their events. */

import { app } from "../../scripts/app.js";

/** An element with properties (`class`, `text`, `on` = listeners, the rest attributes; null leaves one out) and children. */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A small button; `label` is read aloud and shown as the tooltip. */
export function button(text, label, onClick, props = {}) {
  return el("button", { type: "button", class: "dva-button", text, title: label, "aria-label": label, on: { click: onClick }, ...props });
}

/** A button's picture: an SVG path in a square of 16. Fonts do not have the signs of a player everywhere. */
export function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.firstChild.setAttribute("d", path);
  return svg;
}

/** Shows or hides a widget of a node on the canvas, without leaving a gap. */
export function setVisible(widget, visible) {
  widget.hidden = !visible;
  if (visible) delete widget.computeSize;
  else widget.computeSize = () => [0, -4]; // the canvas puts 4 between widgets
}

/** Shows or hides a widget of the host's own kind, on the canvas and in nodes of HTML. */
export function showWidget(widget, visible) {
  setVisible(widget, visible);
  widget.options.hidden = !visible;
}

/** Makes a node as high as it needs with an element of `height`, which was `before` high; it shrinks again when that was all that made it high. */
export function fitNode(node, height, before) {
  const needed = node.computeSize()[1];
  const snug = before !== undefined && node.size[1] <= needed - height + before + 2;
  if (node.size[1] < needed || (snug && needed < node.size[1])) node.setSize([node.size[0], needed]);
  node.graph?.setDirtyCanvas(true, true);
}

/** Whether the element is on a node that the page builds of HTML ("Nodes 2.0"), not on the canvas. */
export function inHtmlNode(element) {
  return Boolean(element.closest("[data-node-id]"));
}

const adopted = new Map(); // element -> {node, name of its widget}
const places = new Map(); // "node's id, widget's name" -> where the host had put the element of the node that had this id before

/** Keeps a widget's element on its HTML node: where the host gives no place to it (ComfyUI 0.3), or gave the place to an earlier node of the
 * same id and does not look again (after undo). */
export function adopt(node, name, element) {
  const add = () => adopted.set(element, { node, name });
  if (node.graph) add();
  chain(node, "onAdded", add);
  chain(node, "onRemoved", () => {
    adopted.delete(element);
    if (!inHtmlNode(element)) return;
    places.set(`${node.id} ${name}`, element.parentElement);
    element.remove(); // the next node with this id may be given the same place
  });
}

setInterval(() => {
  if (!window.LiteGraph?.vueNodesMode) return;
  for (const [element, { node, name }] of adopted) {
    if (element.isConnected || node.graph !== app.canvas?.graph) continue;
    const before = places.get(`${node.id} ${name}`);
    const free = before?.isConnected && !before.childElementCount && before.closest("[data-node-id]")?.dataset.nodeId === String(node.id);
    (free ? before : document.querySelector(`[data-testid="node-body-${node.id}"]`))?.append(element);
  }
}, 200);

/** The style sheet beside this file, for the page, whose document is not touched. */
export async function addStyles() {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  await sheet.replace(await (await fetch(new URL("./dva.css", import.meta.url))).text());
}

/** Calls `after` behind whatever the object has under that name: `chain(node, "onRemoved", release)`. */
export function chain(object, name, after) {
  const before = object[name];
  object[name] = function (...args) {
    const result = before?.apply(this, args);
    after.apply(this, args);
    return result;
  };
}

/** The page's undo takes note of what the user has just changed. */
export function noteChange() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  if (tracker?.captureCanvasState) tracker.captureCanvasState();
  else tracker?.checkState?.(); // its name before
}

/** Pointer, wheel and keys are for the element; what it does not use (middle button, wheel without a scroll bar) goes to the canvas. */
export function guard(root) {
  for (const event of ["pointerdown", "pointermove", "pointerup"]) {
    root.addEventListener(event, (e) => {
      if (e.button === 1 || e.buttons === 4) {
        if (!inHtmlNode(root) && !document.fullscreenElement) app.canvas[{ pointerdown: "processMouseDown", pointermove: "processMouseMove", pointerup: "processMouseUp" }[event]](e);
      } else e.stopPropagation();
    });
  }
  root.addEventListener("wheel", (e) => {
    e.stopPropagation();
    if (scrolls(e)) return;
    e.preventDefault();
    app.canvas.processMouseWheel(e);
  });
  root.addEventListener("keydown", (e) => {
    const shortcut = e.ctrlKey || e.metaKey || e.altKey || /^F\d+$/.test(e.key);
    if (!shortcut || isText(e.target)) e.stopPropagation(); // else Delete removes the node
  });
  for (const event of ["copy", "cut", "paste"]) root.addEventListener(event, (e) => isText(e.target) && e.stopPropagation());
}

/** Whether the wheel is for a list of ours that has more to show, not for the canvas. */
function scrolls(event) {
  const list = event.target.closest?.(".dva-scroll");
  return Boolean(list) && list.scrollHeight > list.clientHeight && !event.ctrlKey && !event.metaKey;
}

/** Around HTML nodes the page takes the wheel before it reaches them; and behind a player that fills the screen there is nothing to move. */
function isOurs(event) {
  return document.fullscreenElement?.classList.contains("dva-result") || (scrolls(event) && inHtmlNode(event.target));
}

window.addEventListener("wheel", (event) => isOurs(event) && event.stopPropagation(), { capture: true, passive: true });

function isText(target) {
  return target.matches?.("input, textarea") ?? false;
}
