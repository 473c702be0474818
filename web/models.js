/** Which model a node is wired to, and what that model can change. */

import { api } from "../../scripts/api.js";
import { sourceOf, valueOf } from "./graph.js";

const LOADER = "DVALoadModel";
const STARTER = "starter";
const HOPS = 64;
const known = new Map();

/** The name chosen in the Load DVA Model above a node in these places, through reroutes and subgraphs; null where nothing is connected, undefined
 * where the name cannot be seen from here. */
export function modelName(places) {
  const names = new Set(places.map(nameAt)); // a subgraph that is used twice may be given two models
  return names.size === 1 ? [...names][0] : undefined;
}

function nameAt(place) {
  let at = place;
  let slot = place.node.inputs?.findIndex((input) => input.name === "model") ?? -1;
  for (let hop = 0; hop < HOPS && slot >= 0; hop++) {
    const source = sourceOf(at, slot);
    if (!source) return null;
    if (source.node.comfyClass === LOADER || source.node.type === LOADER) return valueOf(source, "model");
    if (source.node.inputs?.length !== 1) return undefined; // no reroute
    [at, slot] = [source, 0];
  }
  return undefined;
}

/** {attributes: [{name, space, auc, range}]} of a model, of the starter for null; with a `reason` where the server cannot tell. */
export function attributesOf(name) {
  const model = name ?? STARTER;
  if (!known.has(model)) known.set(model, ask(model).catch((error) => (known.delete(model), { attributes: [], reason: error.message })));
  return known.get(model);
}

/** Models may have been exchanged on the disk. */
export function forgetModels() {
  known.clear();
}

async function ask(model) {
  const answer = await api.fetchApi(`/dva/attributes?model=${encodeURIComponent(model)}`);
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error ?? answer.statusText);
  return { attributes: said.attributes ?? [] };
}
