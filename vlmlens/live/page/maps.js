// Attention by layer and head: fetched when it is looked at, dropped when it is out of date.

import { act } from "./actions.js";
import { change, hover, query, view, watch } from "./store.js";

const AT_ONCE = 8; // layers of one request
let wanted = "";

export function startMaps() {
  watch(refresh);
}

async function refresh() {
  if (!view.state || !view.online) return;
  const which = view.which === "effect" ? "clean" : view.which;
  const mark = JSON.stringify([view.version, query(), which]);
  if (mark === wanted) return;
  wanted = mark;
  const maps = [];
  const { layers } = view.state.model;
  for (let layer = 0, count = 1; layer < layers; layer += count) {
    count = layer ? Math.min(AT_ONCE, layers - layer) : 1; // the first is soon there
    const found = await act.quietly("maps", { layer, count, query: query(), which });
    if (mark !== wanted) return;
    for (let at = 0; at < count; at++) maps[layer + at] = found?.values[at];
    if (layer === 0 || layer + count === layers) change({ maps: [...maps] });
  }
}

// What lies on the picture and on the words: one head's attention, or the mean of all that are here.
export function shownMap() {
  const { heads } = view.state.model;
  const cell = hover.head ?? view.shown;
  if (cell !== null) return fitting(view.maps[Math.floor(cell / heads)]?.[cell % heads]);
  if (mean.of !== view.maps || mean.version !== view.version) mean = { of: view.maps, version: view.version, values: meanOfAll() };
  return mean.values;
}

let mean = { of: null };

function meanOfAll() {
  const every = view.maps.filter(Boolean).flat().filter(fitting);
  if (!every.length) return null;
  const out = new Array(every[0].length).fill(0);
  for (const row of every) row.forEach((value, key) => (out[key] += value / every.length));
  return out;
}

export function fitting(row) {
  return row?.length === view.state.tokens.length ? row : null;
}

let known = null;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  known = null;
  change();
});

export function colours() {
  if (known) return known;
  const style = getComputedStyle(document.body);
  const of = (name) => style.getPropertyValue(name).trim();
  known = { empty: of("--empty"), grid: "rgba(128, 134, 142, .55)", muted: of("--muted"), ink: of("--ink"), soft: channels(of("--soft")), paper: of("--paper"), accent: of("--accent"), font: style.fontFamily };
  return known;
}
