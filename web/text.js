/** The page's words for this pack, from locales/<language>/main.json. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const LANGUAGE_SETTING = "Comfy.Locale";
const words = { chosen: {}, english: {} };

/** Fetches them once, before the first node is made. */
export async function loadTexts() {
  try {
    const all = await (await api.fetchApi("/i18n")).json();
    words.english = all.en?.dva ?? {};
    words.chosen = all[app.ui.settings.getSettingValue(LANGUAGE_SETTING)]?.dva ?? {};
  } catch (error) {
    console.warn("DVA: no translations", error);
  }
}

/** The text under "panel.search" and the like, its {name} filled in; the last part of the key where there is none. */
export function text(key, values = {}) {
  const found = at(words.chosen, key) ?? at(words.english, key) ?? key.split(".").at(-1);
  return found.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** An attribute's name as people read it. */
export function attributeLabel(name) {
  return words.chosen.attributes?.[name] ?? words.english.attributes?.[name] ?? name.replaceAll("_", " ");
}

function at(tree, key) {
  const found = key.split(".").reduce((branch, part) => branch?.[part], tree);
  return typeof found === "string" ? found : undefined;
}
