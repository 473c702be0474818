/** What the pack adds to the page: sliders on the edit node, a player on Decode DDIM, before and after on Preview Edit, faces to choose from. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { addStyles, chain } from "./dom.js";
import { addEncodeFaces } from "./encode_faces.js";
import { addFaces, watchFaces } from "./faces.js";
import { forgetModels } from "./models.js";
import { addPanel, refreshPanels } from "./panel.js";
import { addPlayer } from "./player.js";
import { watchQueue } from "./preview.js";
import { showKept, watchRuns } from "./result.js";
import { addStill } from "./still.js";
import { addOutside } from "./outside.js";
import { loadTexts } from "./text.js";

const EXAMPLES = ["dva_example.mp4", "dva_example_two.mp4"]; // as EXAMPLE_VIDEOS in nodes/folders.py
const ADDITIONS = {
  DVAEncodeDecomposed: addEncodeFaces,
  DVAChooseFaces: (node) => addFaces(node),
  DVAEditIdentityClassifier: (node) => addPanel(node),
  DVADecodeDDIM: addPlayer,
  DVAPreviewEdit: addStill,
  DVAEditIdentityCLIP: keepSeed,
  DVASwitchFeatures: keepSeed,
  DVALoadModel: (node) => chain(node.widgets.find((widget) => widget.name === "model") ?? {}, "callback", refreshPanels),
};

/** The page draws a new seed after every run unless told otherwise, and with it repeats the search; what a workflow has saved is set later. */
function keepSeed(node) {
  const control = node.widgets?.find((widget) => widget.name === "control_after_generate");
  if (control) control.value = "fixed";
}

/** The video of an example is put into the input folder when the example is opened. */
async function provideExample(node) {
  const file = node.widgets?.find((widget) => widget.name === "file");
  const name = file?.value;
  if (node.comfyClass !== "DVALoadVideo" || !EXAMPLES.includes(name)) return;
  const answer = await api.fetchApi(`/dva/example?file=${name}`, { method: "POST" });
  if (answer.ok && node.graph && file.value === name) file.callback?.(name); // so that the page shows it
}

app.registerExtension({
  name: "diffusionvideoautoencoder.page",

  async init() {
    addStyles().catch((error) => console.warn("DVA: no styles", error));
    watchQueue();
    watchRuns();
    watchFaces();
    await loadTexts();
  },

  setup() {
    app.canvas.canvas.addEventListener("litegraph:set-graph", refreshPanels); // what is outside a subgraph may have changed
  },

  nodeCreated(node) {
    if (node.subgraph) addOutside(node);
    else ADDITIONS[node.comfyClass]?.(node);
  },

  loadedGraphNode: provideExample,

  onNodeOutputsUpdated: showKept,

  refreshComboInNodes() {
    forgetModels();
    refreshPanels();
  },
});
