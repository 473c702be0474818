/** Choose Faces: a frame with a box around everybody, a scrubber over the video, and a strip of all people; click to choose, type to name.
 * Its only memory is the node's JSON text, and the key of the faces found last. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { meantIn, mayBeCalled, readChoice, rename, toggle, writeChoice } from "./choice.js";
import { button, chain, el, guard, icon, noteChange } from "./dom.js";
import { FrameView, colour, label } from "./faces_frame.js";
import { executionId, isOff, placesOf } from "./graph.js";
import { viewed } from "./result.js";
import { text } from "./text.js";
import { TextPanel } from "./text_panel.js";

const FOUND = "dva.faces"; // as in nodes/choose_faces.py
const KEY = "dva_faces"; // of the faces found last, in the node's properties
const FOLDER = "dva_faces"; // as in nodes/folders.py
const WIDEST = 420; // px of the frame's height
const CARD = { width: 88, height: 120 };
const STRIP = 250; // px, at most
const FIRST_WIDTH = 420;
const FIND = "M7 1a6 6 0 1 0 3.6 10.8l3.3 3.3 1.2-1.2-3.3-3.3A6 6 0 0 0 7 1zm0 2a4 4 0 1 1 0 8 4 4 0 0 1 0-8z";
const choosers = new Set();

/** Puts the faces on a node whose text widget `name` holds the choice, and hides that widget. */
export function addFaces(node, name = "choice") {
  const source = node.widgets?.find((widget) => widget.name === name);
  if (!source) return;
  new Chooser(node, source).attach();
  if (node.size[0] < FIRST_WIDTH) node.setSize([FIRST_WIDTH, node.size[1]]);
}

/** The server says which faces a node has, before it looks at the choice. */
export function watchFaces() {
  const of = (id) => [...choosers].filter((chooser) => chooser.answersFor(id));
  const open = (id, key) => key && of(id).forEach((chooser) => chooser.open(key));
  api.addEventListener(FOUND, ({ detail }) => open(detail.node, detail.key));
  api.addEventListener("executed", ({ detail }) => open(detail.node, detail.output?.[FOUND]?.[0]?.key)); // also of what the server has kept
  api.addEventListener("execution_error", ({ detail }) => choosers.forEach((chooser) => chooser.fail(detail.exception_message)));
  for (const event of ["execution_success", "execution_interrupted"]) api.addEventListener(event, () => choosers.forEach((chooser) => chooser.setBusy(false)));
  api.addEventListener("status", ({ detail }) => detail?.exec_info?.queue_remaining === 0 && choosers.forEach((chooser) => chooser.setBusy(false)));
}

export class Chooser extends TextPanel {
  constructor(node, source) {
    super(node, source, text("faces.json"));
    Object.assign(this, { found: null, key: "", cards: [], inShot: false, message: "" });
    this.find = button("", text("faces.find"), () => this.look(), { class: "dva-button dva-find" });
    this.find.append(icon(FIND), el("span", { text: text("faces.find") }));
    this.summary = el("span", { class: "dva-summary", role: "status" });
    this.everyone = button(text("faces.everyone"), text("faces.everyone_hint"), () => this.chooseAll(), { class: "dva-button dva-everyone", "aria-pressed": "false" });
    this.reset = button("↺", text("faces.reset"), () => this.commit(""), { class: "dva-button dva-reset-all" });
    this.bar = el("div", { class: "dva-bar" }, this.find, this.summary, this.everyone, this.reset, this.json);
    this.view = new FrameView({ toggle: (number) => this.toggle(number), moved: () => this.show() });
    const scope = (inShot) => button(text(inShot ? "faces.this_shot" : "faces.all_shots"), text(inShot ? "faces.this_shot_hint" : "faces.all_shots_hint"), () => this.setScope(inShot), { class: `dva-button ${inShot ? "dva-this-shot" : "dva-all-shots"}`, "aria-pressed": "false" });
    [this.allShots, this.thisShot] = [scope(false), scope(true)];
    this.likeAll = button("↺", text("faces.like_all"), () => this.dropShot(), { class: "dva-button dva-like-all" });
    this.scopes = el("div", { class: "dva-fields dva-scopes" }, this.allShots, this.thisShot, this.likeAll);
    this.strip = el("div", { class: "dva-strip dva-scroll", role: "group", "aria-label": text("faces.people"), "data-capture-wheel": "true" });
    this.body = el("div", { class: "dva-faces-body", hidden: "" }, this.view.stage, this.view.controls, this.scopes, this.strip);
    this.element = el("div", { class: "dva-panel dva-faces", role: "group", "aria-label": text("faces.title") }, this.bar, this.note, this.area, this.body);
    this.element.addEventListener("keydown", (event) => this.press(event));
    guard(this.element);
  }

  attach() {
    const { node, source } = this;
    this.place("dva_faces");
    chain(source, "callback", () => ((this.message = ""), this.show()));
    for (const event of ["onAdded", "onConfigure"]) chain(node, event, () => setTimeout(() => this.open(node.properties[KEY])));
    chain(node, "onConnectionsChange", () => this.show());
    chain(node, "onAdded", () => choosers.add(this));
    chain(node, "onRemoved", () => choosers.delete(this));
    chain(node, "onResize", () => this.fit());
    this.show();
  }

  /** Whether there are faces to be shown. */
  get unfolded() {
    return Boolean(this.found);
  }

  get count() {
    return this.found?.people.length ?? 0;
  }

  /** Looks for faces. */
  async look() {
    if (isOff(this.node)) return this.tell(text("faces.off"), true);
    this.setBusy(true);
    try {
      await this.run();
      if (Object.keys(app.lastNodeErrors ?? {}).length) this.setBusy(false);
    } catch (error) {
      this.fail(error.message);
    }
  }

  /** Runs this node, and what it needs. */
  async run() {
    await app.queuePrompt(0, 1, placesOf(this.node).map(executionId));
  }

  /** Whether what the server says of a node is meant for this one. */
  answersFor(id) {
    return placesOf(this.node).some((place) => executionId(place) === String(id));
  }

  /** The search for faces has failed, if there is one. */
  fail(reason) {
    if (!this.find.disabled) return;
    this.setBusy(false);
    this.message = reason.trim();
    this.show();
  }

  setBusy(busy) {
    this.find.disabled = busy;
    this.element.classList.toggle("dva-busy", busy);
  }

  /** Shows the faces that the server keeps under a key; nothing where it keeps them no longer. */
  async open(key) {
    if (!key || (key === this.key && this.found)) return;
    const folder = { subfolder: `${FOLDER}/${key}`, type: "temp" };
    const answer = await fetch(viewed({ filename: "people.json", ...folder })).catch(() => null);
    if (!answer?.ok || !this.node.graph) return this.show();
    const found = await answer.json();
    if (!found.pictures?.length) return;
    Object.assign(this, { found, key, folder, message: "" });
    this.node.properties[KEY] = key;
    this.inShot = false;
    this.build();
    this.view.open(found, folder);
  }

  build() {
    const { found } = this;
    this.cards = found.people.map((person) => this.card(person));
    this.strip.replaceChildren(...this.cards.map(({ element }) => element));
    this.scopes.hidden = found.shots.length < 2;
  }

  card(person) {
    const { number } = person;
    const face = el("button", { type: "button", class: "dva-face", "aria-pressed": "false", on: { click: () => this.toggle(number) } });
    face.append(el("img", { src: viewed({ filename: `person_${number}.jpg`, ...this.folder }), alt: "", draggable: "false" }), el("span", { class: "dva-badge", text: String(number) }));
    const name = el("input", { class: "dva-search dva-called", type: "text", maxlength: "60", placeholder: text("faces.name"), "aria-label": text("faces.name_of", { number }) });
    name.addEventListener("change", () => this.rename(number, name));
    name.addEventListener("keydown", (event) => event.key === "Enter" && name.blur());
    face.addEventListener("dblclick", () => name.focus());
    face.addEventListener("pointerenter", () => this.view.point(number));
    face.addEventListener("pointerleave", () => this.view.point(null));
    const share = Math.round(100 * person.share);
    const spans = person.spans.map((span) => span.join("–")).join(", ");
    const seen = el("span", { class: "dva-seen", text: `${share} %`, title: text("faces.seen", { share, spans }) });
    const element = el("div", { class: "dva-card" }, face, name, seen);
    element.style.setProperty("--dva-person", colour(number));
    return { number, element, face, name };
  }

  /** Numbers choose people, wherever the focus is but in a text; arrows go along the strip. */
  press(event) {
    if (event.target.matches("input, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^[1-9]$/.test(event.key) && Number(event.key) <= this.count) {
      event.preventDefault();
      this.toggle(Number(event.key));
    }
    const card = this.cards.findIndex(({ face }) => face === event.target);
    const to = card < 0 ? undefined : this.cards[card + ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? NaN)];
    if (to) {
      event.preventDefault();
      to.face.focus();
    }
  }

  setScope(inShot) {
    this.inShot = inShot;
    this.show();
  }

  read() {
    return readChoice(this.source.value);
  }

  /** What the text says, if it is about the faces that are shown; else nothing is chosen yet. */
  current() {
    const { choice, error } = this.read();
    const foreign = Boolean(choice?.survey && this.key && choice.survey !== this.key);
    return { choice: foreign ? { people: [], names: {}, shots: {}, survey: this.key, untouched: true } : choice, error, foreign };
  }

  toggle(number) {
    const { choice, error } = this.current();
    if (error || this.linked) return;
    this.change(toggle(choice, number, this.count, this.inShot ? this.view.shot : null));
  }

  chooseAll() {
    const { choice, error } = this.current();
    if (error || this.linked) return;
    const { untouched, ...rest } = choice;
    this.change(this.inShot ? { ...rest, shots: { ...rest.shots, [this.view.shot]: null } } : { ...rest, people: null });
  }

  /** Forgets what is special in this shot. */
  dropShot() {
    const { choice } = this.current();
    const { [this.view.shot]: dropped, ...shots } = choice.shots;
    this.change({ ...choice, shots });
  }

  rename(number, input) {
    const { choice, error } = this.current();
    const name = input.value.trim();
    if (error || this.linked) return;
    const fits = mayBeCalled(choice, number, name);
    this.message = fits ? "" : text("faces.bad_name", { name });
    if (fits) this.change(rename(choice, number, name));
    else this.show();
  }

  change(choice) {
    this.commit(writeChoice({ ...choice, survey: this.key }));
  }

  commit(json) {
    this.message = "";
    this.write(json);
    noteChange();
  }

  show() {
    const { choice, error, foreign } = this.current();
    const off = Boolean(error) || this.linked;
    const meant = choice ? meantIn(choice, this.view.shot, this.count) : [];
    const all = choice ? meantIn({ ...choice, shots: {} }, 0, this.count) : [];
    if (document.activeElement !== this.area) this.area.value = this.source.value;
    if (error) this.area.hidden = false;
    this.body.hidden = !this.unfolded;
    this.element.classList.toggle("dva-off", off);
    const here = this.inShot ? meant : all;
    for (const { number, face, name, element } of this.cards) {
      const called = choice?.names[number] ?? "";
      element.classList.toggle("dva-chosen", here.includes(number));
      face.setAttribute("aria-pressed", String(here.includes(number)));
      face.setAttribute("aria-label", label(number, called));
      face.disabled = off;
      name.disabled = off;
      if (document.activeElement !== name && !(this.message && name.value)) name.value = called;
    }
    this.view.mark(meant, choice?.names ?? {}, off);
    const shots = Object.keys(choice?.shots ?? {});
    this.allShots.setAttribute("aria-pressed", String(!this.inShot));
    this.thisShot.setAttribute("aria-pressed", String(this.inShot));
    this.thisShot.textContent = text("faces.this_shot", { shot: this.view.shot });
    this.thisShot.classList.toggle("dva-special", shots.includes(String(this.view.shot)));
    this.likeAll.hidden = !this.inShot || !shots.includes(String(this.view.shot));
    this.everyone.hidden = this.count < 2;
    this.everyone.disabled = off;
    this.everyone.setAttribute("aria-pressed", String(this.count > 0 && here.length === this.count));
    this.reset.disabled = off || !this.source.value.trim();
    this.json.setAttribute("aria-pressed", String(!this.area.hidden));
    this.area.readOnly = this.linked;
    this.summary.textContent = !this.found ? "" : choice?.untouched && !foreign ? text("faces.untouched") : text("faces.chosen", { chosen: here.length, count: this.count });
    const nobody = choice && !foreign && !all.length && !Object.values(choice.shots).some((people) => people === null || people.length);
    if (error) this.tell(text("faces.broken", { reason: error }), true);
    else if (this.linked) this.tell(text("panel.linked"), false);
    else if (this.message) this.tell(this.message, true);
    else if (foreign) this.tell(text("faces.foreign"), true);
    else if (nobody) this.tell(text("faces.nobody"), true);
    else if (this.found && !this.count) this.tell(text("faces.none"), true);
    else this.tell(this.found ? "" : text(this.source.value.trim() ? "faces.kept" : "faces.hint"), false);
    this.fit();
  }

  redraw() {
    this.show();
  }

  minHeight() {
    const note = this.note.hidden ? 0 : Math.max(28, Math.min(94, this.note.scrollHeight)) + 10;
    const texts = 32 + (this.area.hidden ? 0 : 64) + note;
    if (!this.unfolded) return Math.max(84, texts + 24);
    const inner = this.node.size[0] - 46;
    const rows = Math.ceil(this.count / Math.max(1, Math.floor(inner / CARD.width)));
    return texts + Math.min(WIDEST, inner * this.view.shape) + 44 + (this.scopes.hidden ? 0 : 28) + Math.min(STRIP, rows * CARD.height + 8) + 20;
  }
}
