/** The attribute panel: one slider for each attribute of the connected model. Its only memory is the node's JSON text. */

import { button, chain, el, guard, noteChange } from "./dom.js";
import { placesOf } from "./graph.js";
import { keyEditor } from "./keys.js";
import { attributesOf, modelName } from "./models.js";
import { Outing } from "./outing.js";
import { canFollow, preview, previewsBehind } from "./preview.js";
import { attributeRow } from "./row.js";
import { changed, format, keyOf, parse } from "./scales.js";
import { attributeLabel, text } from "./text.js";
import { TextPanel } from "./text_panel.js";

const FOLDED = "dva_folded"; // in the node's properties, so that they are saved
const LIVE = "dva_live";
const OPEN_HEIGHT = 240;
const FOLDED_HEIGHT = 84;
const ROW_HEIGHT = 26;
const KEYS_HEIGHT = 160;
const SET = "set"; // the group of what the edit says, before those of the model's spaces
const SPACES = ["identity", "motion", "other"];
const panels = new Set();

/** Puts the panel on a node whose text widget `name` holds the JSON, and hides that widget. */
export function addPanel(node, name = "attributes") {
  const source = node.widgets?.find((widget) => widget.name === name);
  if (!source) return;
  const panel = new Panel(node, source);
  panel.outing = new Outing(panel);
  panel.attach();
}

/** Every panel looks again which model it is wired to. */
export function refreshPanels() {
  for (const panel of panels) panel.refresh();
}

export class Panel extends TextPanel {
  constructor(node, source) {
    super(node, source, text("panel.json"));
    Object.assign(this, { rows: new Map(), found: null, failed: "", wanted: false });
    this.search = el("input", { class: "dva-search", type: "search", placeholder: text("panel.search"), "aria-label": text("panel.search") });
    this.search.addEventListener("input", () => this.redraw());
    this.fold = button("▾", text("panel.fold"), () => this.set(FOLDED, !this.folded), { class: "dva-button dva-fold" });
    this.resetAll = button("↺", text("panel.reset_all"), () => this.commit(new Map()), { class: "dva-button dva-reset-all" });
    this.live = button("◉", text("panel.live"), () => this.set(LIVE, !this.is(LIVE)), { class: "dva-button dva-live", "aria-pressed": "false" });
    this.list = el("div", { class: "dva-list dva-scroll", "data-capture-wheel": "true" });
    this.bar = el("div", { class: "dva-bar" }, this.fold, this.search, this.live, this.resetAll, this.json);
    this.element = el("div", { class: "dva-panel", role: "group", "aria-label": text("panel.title") }, this.bar, this.note, this.area, this.list);
    guard(this.element);
  }

  /** Where the node whose text this is stands in a run. */
  places() {
    return placesOf(this.node);
  }

  /** The name of a property of the node. */
  property(name) {
    return name;
  }

  is(name) {
    return Boolean(this.node.properties[this.property(name)]);
  }

  get folded() {
    return this.is(FOLDED);
  }

  attach() {
    const { node, source } = this;
    this.place(`dva_${this.source.name}`, { getMaxHeight: () => (this.folded ? this.minHeight() : undefined) });
    chain(source, "callback", () => this.refresh());
    for (const event of ["onConfigure", "onConnectionsChange", "onAdded"]) chain(node, event, () => this.refresh());
    if (node.graph) panels.add(this);
    chain(node, "onAdded", () => panels.add(this));
    chain(node, "onRemoved", () => panels.delete(this));
    this.element.addEventListener("pointerenter", () => this.refresh()); // a reroute further up may have changed
    this.refresh();
  }

  /** Reads text and model again; once, however often it is asked before the next frame. */
  refresh() {
    if (this.wanted) return;
    this.wanted = true;
    requestAnimationFrame(async () => {
      this.wanted = false;
      if (!this.node.graph) return; // it was taken out meanwhile, into a subgraph perhaps
      const model = modelName(this.places());
      const found = model === undefined ? { attributes: [], reason: text("panel.model_hidden") } : await attributesOf(model);
      if (!this.node.graph) return;
      if (modelName(this.places()) !== model) return this.refresh(); // another was chosen while this one was asked for
      if (this.found !== found && !(found.reason && found.reason === this.found?.reason)) {
        this.found = found;
        this.build();
      }
      this.show();
    });
  }

  /** A row for each attribute of the model, under the name of the space it lives in; of an unknown model, for what is set. */
  build() {
    this.showKeys(null);
    this.rows.clear();
    this.list.replaceChildren();
    this.groups = {};
    this.order = "";
    for (const space of [SET, ...SPACES]) {
      const title = space === SET || (space === "other" && this.found.reason) ? text("panel.unknown") : text(`panel.${space}`);
      this.groups[space] = el("div", { class: "dva-group", "data-space": space }, el("div", { class: "dva-space", text: title }));
      this.list.append(this.groups[space]);
      for (const attribute of this.found.attributes.filter((entry) => entry.space === space)) this.addRow(space, attribute);
    }
  }

  addRow(space, attribute) {
    const { name } = attribute;
    const row = attributeRow(attribute, {
      onMove: (scale) => this.follow(changed(this.values, name, scale)),
      onChange: (scale) => this.commit(changed(this.values, name, scale)),
      onKeys: () => this.showKeys(this.keys?.row === row ? null : row),
    });
    row.home = space;
    this.rows.set(name.toLowerCase(), row);
    this.groups[space].append(row.element);
  }

  /** What is set stands first, in the edit's own order. Not while the user moves sliders: rows would run from under the pointer. */
  arrange() {
    const set = [...this.values.keys()].map((name) => name.toLowerCase());
    const order = JSON.stringify(set);
    if (this.order === order) return;
    this.order = order;
    for (const [name, row] of this.rows) if (!set.includes(name)) this.groups[row.home].append(row.element);
    for (const name of set) {
      const row = this.rows.get(name);
      this.groups[row.home === "other" ? "other" : SET].append(row.element);
    }
    if (this.keys) this.keys.row.element.after(this.keys.element);
  }

  /** The editor of a strength over time, under its row; closed with null. */
  showKeys(row) {
    this.keys?.row.overTime.setAttribute("aria-expanded", "false");
    this.keys?.element.remove();
    this.keys = null;
    if (row) {
      const { name } = row;
      const value = this.values.get(keyOf(this.values, name)) ?? 0;
      const editor = keyEditor(value, row.range, {
        onMove: (scale) => this.follow(changed(this.values, name, scale)),
        onChange: (scale) => this.commit(changed(this.values, name, scale)),
      });
      this.keys = { row, ...editor };
      row.overTime.setAttribute("aria-expanded", "true");
      row.element.after(editor.element);
    }
    this.redraw();
  }

  /** What the text says, on the sliders; names the model does not have get rows of their own. */
  show() {
    if (!this.found) return; // it will be
    const { values, error } = parse(this.source.value ?? "");
    this.values = values ?? new Map();
    if (document.activeElement !== this.area) this.area.value = this.source.value;
    if (error) this.area.hidden = false;
    if (error) this.tell(text("panel.broken", { reason: error }), true);
    else this.tell((this.linked && text(this.outing?.isOut ? "panel.out" : "panel.linked")) || this.found?.reason || this.failed, !this.linked && Boolean(this.found?.reason || this.failed));
    const off = Boolean(error) || this.linked;
    this.element.classList.toggle("dva-off", off);
    for (const [name, row] of this.rows) {
      if (!row.foreign || keyOf(this.values, name)) continue;
      if (this.keys?.row === row) this.showKeys(null);
      row.element.remove();
      this.rows.delete(name);
    }
    for (const name of this.values.keys()) {
      if (!this.rows.has(name.toLowerCase())) this.addRow("other", { name, foreign: true, unknown: Boolean(this.found.reason) });
    }
    if (this.source.value !== this.written && !error) this.arrange();
    for (const [name, row] of this.rows) row.set(this.values.get(keyOf(this.values, name)) ?? 0, off);
    if (off) this.showKeys(null);
    this.keys?.set(this.values.get(keyOf(this.values, this.keys.row.name)) ?? 0);
    this.resetAll.disabled = off || !this.values.size;
    this.area.readOnly = this.linked;
    this.showLive();
    this.outing?.show();
    this.redraw();
  }

  /** The preview switch: of use only where a Preview Edit node shows this edit. */
  showLive() {
    const possible = previewsBehind(this.places()).length > 0;
    this.live.disabled = !possible;
    this.live.title = text(possible ? "panel.live" : "panel.live_needs");
    this.live.setAttribute("aria-pressed", String(possible && this.is(LIVE)));
  }

  /** Sets a switch that is saved with the node. */
  set(name, on) {
    if (on) this.node.properties[this.property(name)] = true;
    else delete this.node.properties[this.property(name)];
    this.showLive();
    this.redraw();
    noteChange();
    if (name === LIVE && on) this.preview();
  }

  /** Folded: only what is changed. Searched for: only what is meant. */
  redraw() {
    const wanted = this.search.value.trim().toLowerCase();
    for (const row of this.rows.values()) {
      const named = [row.name, attributeLabel(row.name)].some((name) => name.toLowerCase().replaceAll("_", " ").includes(wanted.replaceAll("_", " ")));
      row.element.hidden = !named || (this.folded && !wanted && row.isZero());
      if (this.keys?.row === row) this.keys.element.hidden = row.element.hidden;
    }
    for (const group of this.list.children) group.hidden = ![...group.querySelectorAll(".dva-row")].some((row) => !row.hidden);
    this.element.classList.toggle("dva-folded", this.folded);
    this.element.classList.toggle("dva-nothing", ![...this.list.children].some((group) => !group.hidden));
    this.list.dataset.nothing = text(wanted ? "panel.none_found" : "panel.none_set");
    this.fold.textContent = this.folded ? "▸" : "▾";
    this.fold.setAttribute("aria-expanded", String(!this.folded));
    this.json.setAttribute("aria-pressed", String(!this.area.hidden));
    this.fit();
  }

  /** What the user is about to choose; shown at once where a preview takes a moment. */
  follow(values) {
    this.write(format(values));
    if (this.is(LIVE) && canFollow(this.places())) this.preview();
  }

  commit(values) {
    const known = this.previewed === format(values); // while it was dragged
    this.write(format(values));
    noteChange();
    if (this.is(LIVE) && !known) this.preview();
  }

  preview() {
    this.previewed = this.source.value;
    preview(() => this.places(), (reason) => {
      const failed = reason && text("panel.failed", { reason });
      if (failed === this.failed) return;
      this.failed = failed;
      this.show();
    });
  }

  minHeight() {
    const texts = (this.area.hidden ? 0 : 64) + (this.note.hidden ? 0 : 34) + (this.keys ? KEYS_HEIGHT : 0);
    const set = [...this.rows.values()].filter((row) => !row.element.hidden).length;
    return texts + (this.folded ? Math.max(FOLDED_HEIGHT, Math.min(OPEN_HEIGHT, 64 + ROW_HEIGHT * set)) : OPEN_HEIGHT);
  }
}
