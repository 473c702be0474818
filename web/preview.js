/** Preview while dragging: runs the Preview Edit nodes behind an edit, and what they need, when a strength has been chosen.
 * One run at a time through the page's own queue; what is chosen meanwhile is run afterwards, the latest only. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const PREVIEW = "DVAPreviewEdit";
let running = null; // {targets: ids of the nodes that were queued last, accepted: the server has taken them}
let next = null; // the node whose previews are wanted after that

/** The ids of the Preview Edit nodes that show what `node` does. */
export function previewsBehind(node) {
  const [found, seen, left] = [[], new Set([node]), [node]];
  while (left.length) {
    for (const output of left.pop().outputs ?? []) {
      for (const id of output.links ?? []) {
        const target = node.graph?.getNodeById(node.graph.getLink(id)?.target_id);
        if (!target || seen.has(target)) continue;
        seen.add(target);
        if (target.comfyClass === PREVIEW) found.push(String(target.id));
        else left.push(target);
      }
    }
  }
  return found;
}

/** Shows what `node` does now; does nothing where no Preview Edit is behind it. */
export async function preview(node) {
  const targets = previewsBehind(node);
  if (!targets.length) return;
  if (running) {
    next = node;
    return;
  }
  const mine = (running = { targets, accepted: false });
  try {
    await app.queuePrompt(0, 1, targets);
    mine.accepted = app.lastNodeErrors && !Object.keys(app.lastNodeErrors).length; // what it answers is false even where all is well
    if (!mine.accepted && running === mine) ended();
  } catch (error) {
    ended();
    throw error;
  }
}

function ended() {
  running = null;
  const node = next;
  next = null;
  if (node?.graph) preview(node);
}

export function watchQueue() {
  api.addEventListener("executed", ({ detail }) => running?.targets.includes(String(detail.node)) && ended());
  for (const event of ["execution_error", "execution_interrupted"]) api.addEventListener(event, () => running && ended());
  api.addEventListener("status", ({ detail }) => detail?.exec_info?.queue_remaining === 0 && running?.accepted && ended());
}
