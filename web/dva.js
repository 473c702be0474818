/** What the pack adds to the page: sliders on the edit node, a player on Decode DDIM, before and after on Preview Edit. */

import { app } from "../../scripts/app.js";
import { addStyles, chain } from "./dom.js";
import { forgetModels } from "./models.js";
import { addPanel, refreshPanels } from "./panel.js";
import { addPlayer } from "./player.js";
import { watchQueue } from "./preview.js";
import { showKept, watchRuns } from "./result.js";
import { addStill } from "./still.js";
import { loadTexts } from "./text.js";

const ADDITIONS = {
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

app.registerExtension({
  name: "diffusion-video-autoencoder.page",

  async init() {
    addStyles();
    watchQueue();
    watchRuns();
    await loadTexts();
  },

  setup() {
    app.canvas.canvas.addEventListener("litegraph:set-graph", refreshPanels); // what is outside a subgraph may have changed
  },

  nodeCreated(node) {
    ADDITIONS[node.comfyClass]?.(node);
  },

  onNodeOutputsUpdated: showKept,

  refreshComboInNodes() {
    forgetModels();
    refreshPanels();
  },
});
