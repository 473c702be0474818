/** Preview while dragging: runs the Preview Edit nodes behind an edit, and what they need, while a strength is chosen and when it has been.
 * One run at a time through the page's own queue; what is chosen meanwhile is run afterwards, the latest only. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { executionId, fedBy, isOff, outputsBehind } from "./graph.js";

const PREVIEW = "DVAPreviewEdit";
let running = null; // {targets: ids of the nodes that were queued last, accepted: the server has taken them}
let next = null; // [places, tell] whose previews are wanted after that
const quick = new Set(); // ids of nodes that were run since the page was opened: what is before them is kept by the server

/** The server's ids of the Preview Edit nodes that show what a node in these places does; those that a run leaves out show nothing. */
export function previewsBehind(places) {
  const [found, seen] = [new Set(), new Set()];
  const left = places.filter(({ node }) => !isOff(node)).map((place) => ({ ...place, slot: null }));
  while (left.length) {
    const place = left.pop();
    for (const { node: target, path, slot } of outputsBehind(place).flatMap((output) => fedBy(place, output))) {
      const id = executionId({ node: target, path });
      if (seen.has(`${id} ${slot}`)) continue;
      seen.add(`${id} ${slot}`);
      if (target.comfyClass !== PREVIEW) left.push({ node: target, path, slot });
      else if (!isOff(target)) found.add(id);
    }
  }
  return [...found];
}

/** Whether these previews take a moment only, so that they may follow a slider: a first one may take the video apart. */
export function canFollow(places) {
  const targets = previewsBehind(places);
  return targets.length > 0 && targets.every((target) => quick.has(target));
}

/** Shows what a node does now, in `places()`; does nothing where no Preview Edit is behind it. `tell(reason)` why it cannot, or "" when it begins. */
export async function preview(places, tell) {
  const targets = previewsBehind(places());
  if (!targets.length) return;
  if (running) {
    next = [places, tell];
    return;
  }
  const mine = (running = { targets, accepted: false });
  tell("");
  try {
    await app.queuePrompt(0, 1, targets);
    mine.accepted = !Object.keys(app.lastNodeErrors ?? {}).length; // what it answers is false even where all is well
    if (!mine.accepted && running === mine) ended();
  } catch (error) {
    tell(error.message);
    if (running === mine) ended();
  }
}

function ended() {
  const [places, tell] = next ?? [];
  running = next = null;
  if (places) preview(places, tell);
}

export function watchQueue() {
  api.addEventListener("executed", ({ detail }) => {
    quick.add(String(detail.node)); // whoever had it run
    if (running?.targets.includes(String(detail.node))) ended();
  });
  for (const event of ["execution_error", "execution_interrupted"]) api.addEventListener(event, () => running && ended());
  api.addEventListener("status", ({ detail }) => detail?.exec_info?.queue_remaining === 0 && running?.accepted && ended());
}
