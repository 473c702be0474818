/** Which model a node is wired to, and what that model can change. */

import { api } from "../../scripts/api.js";

const LOADER = "DVALoadModel";
const STARTER = "starter";
const HOPS = 64;
const known = new Map();

/** The name chosen in the Load DVA Model above `node`, through reroutes; null where it cannot be seen from here. */
export function modelName(node) {
  let at = node;
  let slot = node.inputs?.findIndex((input) => input.name === "model") ?? -1;
  for (let hop = 0; hop < HOPS && slot >= 0; hop++) {
    const source = at.getInputNode?.(slot);
    if (!source) return null;
    if (source.comfyClass === LOADER || source.type === LOADER) return source.widgets?.find((widget) => widget.name === "model")?.value ?? null;
    if (source.inputs?.length !== 1) return null; // no reroute
    [at, slot] = [source, 0];
  }
  return null;
}

/** [{name, space, auc, range}] of a model, of the starter where none is named; [] where the server has no answer. */
export function attributesOf(name) {
  const model = name ?? STARTER;
  if (!known.has(model)) known.set(model, ask(model).catch(() => (known.delete(model), [])));
  return known.get(model);
}

/** Models may have been exchanged on the disk. */
export function forgetModels() {
  known.clear();
}

async function ask(model) {
  const answer = await api.fetchApi(`/dva/attributes?model=${encodeURIComponent(model)}`);
  if (!answer.ok) throw new Error(answer.statusText);
  return (await answer.json()).attributes;
}
