/** A panel over the text of a node's widget: that text itself behind a button, a line that says what is wrong, and the node's height. */

import { adopt, button, el, fitNode, noteChange, showWidget } from "./dom.js";
import { linkInto } from "./graph.js";

/** Kinds give `element`, which holds `json`, `area` and `note`; `show()`, which reads the text anew; `redraw()`, which shows or hides parts;
 * and `minHeight()`. */
export class TextPanel {
  /** `label`: what the button of the text is called. */
  constructor(node, source, label) {
    Object.assign(this, { node, source });
    this.json = button("{ }", label, () => this.showText(this.area.hidden), { class: "dva-button dva-json", "aria-pressed": "false" });
    this.area = el("textarea", { class: "dva-text", spellcheck: "false", rows: "3", "aria-label": label, hidden: "" });
    this.area.addEventListener("input", () => this.write(this.area.value));
    this.area.addEventListener("change", noteChange);
    this.note = el("div", { class: "dva-note", role: "status", hidden: "" });
  }

  /** Puts the element on the node as a widget of that name, and hides the text widget. */
  place(name, options = {}) {
    const { node, source } = this;
    showWidget(source, false);
    this.widget = node.addDOMWidget(name, name, this.element, {
      serialize: false, // the values are the text widget's
      hideOnZoom: false,
      getMinHeight: () => this.minHeight(),
      ...options,
    });
    this.widget.serialize = false;
    adopt(node, name, this.element);
  }

  /** Whether another node writes the text. */
  get linked() {
    return Boolean(linkInto(this.node, this.node.inputs?.findIndex((input) => input.widget?.name === this.source.name) ?? -1));
  }

  write(json) {
    if (this.linked || this.source.value === json) return;
    this.written = json;
    this.source.value = json; // calls `callback` where the widget is a text area
    this.show();
  }

  tell(message, broken) {
    this.note.textContent = message;
    this.note.hidden = !message;
    this.note.classList.toggle("dva-broken", broken);
  }

  showText(shown) {
    this.area.hidden = !shown;
    this.redraw();
    if (shown) this.area.focus();
  }

  fit() {
    const height = this.minHeight();
    if (height === this.fitted) return;
    const before = this.fitted;
    this.fitted = height;
    fitNode(this.node, height, before);
  }
}
