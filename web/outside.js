/** The sliders of an edit inside a subgraph on the subgraph node: where the page shows the edit's text there, they take its place. */

import { chain, el, setVisible, showWidget } from "./dom.js";
import { fedInside, keepsValues, placesOf } from "./graph.js";
import { Panel } from "./panel.js";

const [EDIT, TEXT] = ["DVAEditIdentityClassifier", "attributes"];
const CHANGES = ["input-added", "removing-input", "widget-promoted", "widget-demoted", "inputs-reordered"]; // of a subgraph
const TITLE = 20; // px
const WIDTH = 330; // with room for whole rows

/** Keeps as many panels on a subgraph node as its inputs are texts of edits. */
export function addOutside(host) {
  if (!keepsValues(host)) return;
  const panels = new Map(); // name of an input -> its panel, shown or not
  let wanted = false;
  const look = () => {
    if (wanted) return;
    wanted = true;
    requestAnimationFrame(() => {
      wanted = false;
      if (!host.graph) return;
      const names = host.inputs.filter((_, slot) => editsBehind({ node: host, path: [] }, slot).length).map(({ name }) => name);
      for (const name of names) if (!panels.has(name)) panels.set(name, new OutsidePanel(host, name));
      for (const [name, panel] of panels) panel.appear(names.includes(name));
    });
  };
  for (const event of ["onConfigure", "onConnectionsChange", "onAdded"]) chain(host, event, look);
  for (const event of CHANGES) host.subgraph.events.addEventListener(event, look);
  look();
}

/** The places of the edits whose text an input of a subgraph node is. */
function editsBehind(place, slot) {
  return fedInside(place, slot).filter(({ node, slot }) => node.comfyClass === EDIT && node.inputs[slot].widget?.name === TEXT);
}

/** The text that an input of a subgraph node holds, as a widget: the page makes its own anew whenever it likes. */
class HeldText {
  constructor(host, name) {
    Object.assign(this, { host, name, options: {} });
  }

  get widget() {
    return this.host.widgets.find((widget) => widget.name === this.name);
  }

  get value() {
    return this.widget?.value ?? "";
  }

  set value(json) {
    if (this.widget) this.widget.value = json;
  }
}

class OutsidePanel extends Panel {
  constructor(host, name) {
    super(host, new HeldText(host, name));
    this.title = el("div", { class: "dva-space dva-title" });
    this.element.prepend(this.title);
    this.element.classList.add("dva-outside");
    this.element.hidden = true;
    this.attach();
  }

  places() {
    const { node, source } = this;
    const slot = node.inputs.findIndex(({ name }) => name === source.name);
    return placesOf(node).flatMap((place) => editsBehind(place, slot));
  }

  property(name) {
    return `${name} ${this.source.name}`; // there may be several on the node
  }

  /** In place of the page's own widget, or not at all. */
  appear(shown) {
    const { widget } = this.source;
    if (shown && widget) showWidget(widget, false);
    const changes = shown === this.element.hidden;
    setVisible(this.widget, shown);
    this.element.hidden = !shown;
    if (changes) this.node.setSize([Math.max(this.node.size[0], shown ? WIDTH : 0), this.node.computeSize()[1]]);
    this.title.textContent = this.places()[0]?.node.title ?? "";
    if (shown) this.refresh();
  }

  minHeight() {
    return super.minHeight() + TITLE;
  }
}
