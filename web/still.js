/** The picture of a Preview Edit: after the edit and, while it is pressed, before. */

import { button, el, icon } from "./dom.js";
import { Result, viewed } from "./result.js";
import { text } from "./text.js";

const CONTROLS_HEIGHT = 28 + 20; // with the widget's margins
const HALF = "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm0 2v10A5 5 0 0 1 8 3z";

export function addStill(node) {
  new Still(node).attach("dva_still");
}

class Still extends Result {
  constructor(node) {
    super(node, { controlsHeight: CONTROLS_HEIGHT, shape: 1, stays: true });
    const [after, before] = ["after", "before"].map((side) => el("img", { class: `dva-${side}`, alt: text(`player.${side}`), draggable: "false" }));
    const tags = ["before", "after"].map((side) => el("span", { class: `dva-tag dva-tag-${side}`, text: text(`player.${side}`) }));
    Object.assign(this, { after, before });
    this.stage = el("div", { class: "dva-stage" }, after, before, ...tags);
    this.compare = button("", text("player.compare"), null, { class: "dva-button dva-compare", "aria-pressed": "false" });
    this.compare.append(icon(HALF), el("span", { text: text("player.compare") }));
    this.element = el("div", { class: "dva-still dva-result", role: "group", "aria-label": text("player.title") }, this.stage, el("div", { class: "dva-controls" }, this.compare));
    after.addEventListener("load", () => this.setShape(after.naturalWidth, after.naturalHeight));
    for (const picture of [after, before]) picture.addEventListener("error", () => picture.getAttribute("src") && this.giveUp());
    this.listen();
  }

  /** Pressed by pointer or key; let go by whatever takes either away. No pointer capture: leaving is to be noticed. */
  listen() {
    for (const place of [this.stage, this.compare]) {
      place.addEventListener("pointerdown", (event) => event.button === 0 && this.hold(true));
      for (const event of ["pointerup", "pointercancel", "pointerleave"]) place.addEventListener(event, () => this.hold(false));
    }
    this.compare.addEventListener("keydown", (event) => {
      if (![" ", "Enter"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.hold(true);
    });
    for (const event of ["keyup", "blur"]) this.compare.addEventListener(event, () => this.hold(false));
    this.stage.addEventListener("contextmenu", (event) => (this.hold(false), event.stopPropagation())); // the browser's: to copy or save the picture
  }

  hold(held) {
    this.element.classList.toggle("dva-held", held);
    this.compare.setAttribute("aria-pressed", String(held));
  }

  open(output) {
    const [after, before] = [output.images?.[0], output.dva_before?.[0]];
    if (!after || !before) return false;
    this.after.src = viewed(after);
    this.before.src = viewed(before);
    return true;
  }

  close() {
    this.hold(false);
    for (const picture of [this.after, this.before]) picture.removeAttribute("src");
  }
}
