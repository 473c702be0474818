/** Encode Decomposed: what is asked of the user follows from the input `face`, and where it says that people are chosen, the faces to choose
 * from are on the node. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { readPeople } from "./choice.js";
import { button, chain, noteChange, setVisible, showWidget } from "./dom.js";
import { Chooser } from "./faces.js";
import { executionId, placesOf } from "./graph.js";
import { text } from "./text.js";

const [POSITION, CHOSEN] = ["position", "chosen"]; // as in nodes/face.py
const FINDER = "DVAChooseFaces";
const FINDS_IN = ["model", "video", "images", "rate", "detector"]; // inputs of both nodes
const FIRST_ID = 1e9; // of nodes that are in a run alone, above all that are in a graph
const OPEN = "dva_faces_open"; // in the node's properties, so that they are saved
const PUT_BY = "dva_people";
const BAR = 52; // px, with the widget's margins
let searches = 0;

/** Shows of the node's widgets those that matter, and the faces where people are chosen. */
export function addEncodeFaces(node) {
  const [face, people, ...place] = ["face", "people", "face_x", "face_y"].map((name) => node.widgets?.find((widget) => widget.name === name));
  if (!face) return;
  const chooser = people && new EncodeChooser(node, people, face);
  chooser?.attach();
  const update = () => {
    for (const widget of place) showWidget(widget, face.value === POSITION);
    chooser?.update();
    node.graph?.setDirtyCanvas(true, true);
  };
  chain(face, "callback", () => (chooser?.follow(), update()));
  for (const event of ["onConfigure", "onConnectionsChange"]) chain(node, event, update);
  update();
}

/** The faces on Encode Decomposed: in place of the text of `people` where `face` says so and no other node writes it. */
class EncodeChooser extends Chooser {
  constructor(node, source, face) {
    super(node, source);
    Object.assign(this, { face, asked: new Set() });
    this.fold = button("▸", text("faces.fold"), () => this.setOpen(!this.isOpen), { class: "dva-button dva-fold" });
    this.bar.prepend(this.fold);
  }

  place(name) {
    super.place(name, { getMaxHeight: () => (this.unfolded ? undefined : this.minHeight()) });
  }

  get shown() {
    return this.face.value === CHOSEN && !this.linked;
  }

  get isOpen() {
    return Boolean(this.node.properties[OPEN]);
  }

  get unfolded() {
    return super.unfolded && this.isOpen;
  }

  /** After a change of the widgets or links. */
  update() {
    this.chosen = this.face.value === CHOSEN;
    showWidget(this.source, !this.shown);
    setVisible(this.widget, this.shown);
    this.element.hidden = !this.shown;
    this.show();
  }

  /** The user has changed `face`: people count before it, so where it says something else their text is put by until it says so again. */
  follow() {
    const { node, source } = this;
    if (this.linked || this.chosen === (this.face.value === CHOSEN)) return;
    if (this.chosen && source.value.trim()) [node.properties[PUT_BY], source.value] = [source.value, ""];
    else if (!this.chosen && !source.value.trim()) source.value = node.properties[PUT_BY] ?? "";
    if (!this.chosen) delete node.properties[PUT_BY];
  }

  setOpen(open) {
    if (open) this.node.properties[OPEN] = true;
    else delete this.node.properties[OPEN];
    this.show();
    noteChange();
  }

  read() {
    return readPeople(this.source.value);
  }

  /** Runs Choose Faces with what this node is given, in place of this node, which would take the whole video apart. */
  async run() {
    const prompt = await app.graphToPrompt();
    this.asked.clear();
    for (const place of placesOf(this.node)) {
      const inputs = Object.entries(prompt.output[executionId(place)]?.inputs ?? {}).filter(([name]) => FINDS_IN.includes(name));
      const id = String(FIRST_ID + searches++);
      prompt.output[id] = { class_type: FINDER, inputs: Object.fromEntries(inputs), _meta: { title: text("faces.find") } };
      this.asked.add(id);
    }
    await api.queuePrompt(0, prompt, { partialExecutionTargets: [...this.asked] }).catch((error) => {
      throw new Error(refusal(error));
    });
    this.setOpen(true);
  }

  answersFor(id) {
    return this.asked.has(String(id));
  }

  show() {
    super.show();
    this.summary.title = this.summary.textContent;
    this.element.classList.toggle("dva-compact", Boolean(this.found));
    this.element.classList.toggle("dva-shut", this.onlyBar);
    this.fold.textContent = this.unfolded ? "▾" : "▸";
    this.fold.disabled = !this.found;
    this.fold.setAttribute("aria-expanded", String(this.unfolded));
  }

  get onlyBar() {
    return !this.unfolded && this.note.hidden && this.area.hidden;
  }

  minHeight() {
    if (!this.shown) return 0;
    return this.onlyBar ? BAR : super.minHeight();
  }
}

/** The sentence in which the server refuses a run. */
function refusal(error) {
  const [node] = Object.values(error.response?.node_errors ?? {});
  const { message, details } = node?.errors?.[0] ?? error.response?.error ?? {};
  return [message ?? error.message, details].filter(Boolean).join(": ");
}
