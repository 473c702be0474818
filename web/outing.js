/** The button that shows an edit's sliders on the subgraph node around it: its text becomes an input of the subgraph, as the page itself promotes
 * a widget, and back. */

import { button, icon, noteChange } from "./dom.js";
import { keepsValues, linkInto, placesOf, valueOf } from "./graph.js";
import { text } from "./text.js";

const OUT = "M2 6h2v6h6v2H2zM7 2h7v7h-2V5.4L7.4 10 6 8.6 10.6 4H7z";

export class Outing {
  constructor(panel) {
    this.panel = panel;
    this.control = button("", text("panel.outside"), () => this.toggle(), { class: "dva-button dva-out" });
    this.control.append(icon(OUT));
    panel.bar.insertBefore(this.control, panel.json);
    this.show();
    // the page lists the panel among what it can promote: it then takes the text for it
    const { node } = panel;
    const slotOf = node.getSlotFromWidget;
    node.getSlotFromWidget = (widget) => slotOf?.call(node, widget === panel.widget && !panel.linked ? panel.source : widget);
  }

  get slot() {
    const { node, source } = this.panel;
    return node.inputs?.findIndex((input) => input.widget?.name === source.name) ?? -1;
  }

  /** The input of the subgraph that the text is. */
  get input() {
    const link = linkInto(this.panel.node, this.slot);
    return link?.originIsIoNode ? this.panel.node.graph.inputs[link.origin_slot] : null;
  }

  get isOut() {
    return Boolean(this.input);
  }

  /** Of use only inside a subgraph, on pages whose subgraph nodes can hold sliders, and where no node writes the text. */
  show() {
    const [place] = placesOf(this.panel.node);
    const around = place?.path.at(-1);
    this.control.hidden = !around || !keepsValues(around) || (this.panel.linked && !this.isOut);
    this.control.setAttribute("aria-pressed", String(this.isOut));
  }

  toggle() {
    if (this.isOut) this.takeBack();
    else this.bringOut();
    this.panel.refresh();
    noteChange();
  }

  bringOut() {
    const { node, source } = this.panel;
    const slot = node.inputs[this.slot];
    const names = node.graph.inputs.map((input) => input.name);
    let name = source.name;
    for (let number = 1; names.includes(name); number++) name = `${source.name}_${number}`;
    node.graph.addInput(name, slot.type).connect(slot, node);
  }

  /** What was set outside stays set. */
  takeBack() {
    const { node, source } = this.panel;
    const { input } = this;
    const values = new Set(placesOf(node).map((place) => valueOf(place, source.name)));
    node.disconnectInput(this.slot);
    if (!input.linkIds.length) node.graph.removeInput(input);
    if (values.size === 1) source.value = [...values][0];
  }
}
