/** Walks along links as a run takes them: in and out of subgraphs. A place is {node, path}; the path holds the subgraph nodes around it, outermost first. */

import { app } from "../../scripts/app.js";

const MUTED = 2;
const BYPASSED = 4;
const HOPS = 64; // a subgraph may be wired to itself

/** Whether a run leaves the node out. */
export function isOff(node) {
  return node.mode === MUTED || node.mode === BYPASSED;
}

/** Every place where `node` is run: as many as its subgraph is used; none where it is not in the open workflow. */
export function placesOf(node) {
  const found = [];
  const look = (graph, path) => {
    if (graph === node.graph) found.push({ node, path });
    for (const other of graph?.nodes ?? []) if (other.subgraph && !path.includes(other)) look(other.subgraph, [...path, other]);
  };
  if (node.graph === app.graph) return [{ node, path: [] }];
  if (node.graph) look(app.graph, []);
  return found;
}

/** The server's id of a place: "9", or "11:9" inside the subgraph node 11. */
export function executionId({ node, path }) {
  return [...path, node].map(({ id }) => id).join(":");
}

/** The page's id of a node in any of its places: that of its subgraph, then its own. */
export function locator(node) {
  return node.graph && node.graph !== app.graph ? `${node.graph.id}:${node.id}` : String(node.id);
}

/** The inputs that an output feeds: [{node, path, slot}]. */
export function fedBy({ node, path }, slot, hops = HOPS) {
  const links = [...(node.graph?.links?.values() ?? [])].filter((link) => link.origin_id === node.id && link.origin_slot === slot);
  return links.flatMap((link) => arrive(link, node.graph, path, hops));
}

function arrive(link, graph, path, hops) {
  if (!link || !hops) return [];
  if (link.targetIsIoNode) return path.length ? fedBy(outside(path), link.target_slot, hops - 1) : [];
  const node = graph.getNodeById(link.target_id);
  if (!node) return [];
  if (!node.subgraph || isOff(node)) return [{ node, path, slot: link.target_slot }];
  return fedInside({ node, path }, link.target_slot, hops);
}

/** The inputs inside a subgraph node that one of its own feeds: [{node, path, slot}]. */
export function fedInside({ node, path }, slot, hops = HOPS) {
  const inner = node.subgraph.inputNode.slots[slot]?.linkIds ?? [];
  return inner.flatMap((id) => arrive(node.subgraph.getLink(id), node.subgraph, [...path, node], hops - 1));
}

/** The link into a slot, or null. Not by getInputLink, which looks inside where the node is a subgraph. */
export function linkInto(node, slot) {
  const links = [...(node.graph?.links?.values() ?? [])];
  return links.find((link) => link.target_id === node.id && link.target_slot === slot) ?? null;
}

/** The output that feeds an input: {node, path, slot}; null where nothing is connected. */
export function sourceOf({ node, path }, slot, hops = HOPS) {
  const link = linkInto(node, slot);
  if (!link || !hops) return null;
  if (link.originIsIoNode) return path.length ? sourceOf(outside(path), link.origin_slot, hops - 1) : null;
  return leave({ node: node.graph.getNodeById(link.origin_id), path }, link.origin_slot, hops);
}

function leave({ node, path }, slot, hops) {
  if (!node?.subgraph) return node ? { node, path, slot } : null;
  const link = node.subgraph.getLink(node.subgraph.outputNode.slots[slot]?.linkIds[0]);
  if (!link || !hops) return null;
  if (link.originIsIoNode) return sourceOf({ node, path }, link.origin_slot, hops - 1);
  return leave({ node: node.subgraph.getNodeById(link.origin_id), path: [...path, node] }, link.origin_slot, hops - 1);
}

/** The value a run takes for a widget: its own, or that of the subgraph node on which it is shown. */
export function valueOf({ node, path }, name) {
  const link = linkInto(node, node.inputs?.findIndex((one) => (one.widget?.name ?? one.name) === name) ?? -1);
  const around = link?.originIsIoNode ? path.at(-1)?.inputs[link.origin_slot] : null;
  return around ? valueOf(outside(path), around.name) : node.widgets?.find((widget) => widget.name === name)?.value;
}

/** Whether the page keeps the values of a subgraph node's widgets apart from those inside (2026); before, they are those inside. */
export function keepsValues(host) {
  return "createPromotedHostWidget" in host; // its hook for the elements of such widgets
}

/** The outputs of a node through which it hands on an input: all, or those that a bypass connects to it. */
export function outputsBehind({ node, slot }) {
  const all = (node.outputs ?? []).map((_, index) => index);
  if (node.mode === MUTED) return [];
  return node.mode === BYPASSED ? all.filter((output) => bypassed(node, output) === slot) : all;
}

/** The input that a bypassed node hands on: that of the same place if its type is the same, else the first of that type. */
function bypassed({ inputs, outputs }, output) {
  const { type } = outputs[output];
  return inputs[output]?.type === type ? output : inputs.findIndex((input) => input.type === type);
}

function outside(path) {
  return { node: path.at(-1), path: path.slice(0, -1) };
}
