// The map of heads: what each one reads, which ones are chosen, what is done to them, what each one carries.

import { act } from "./actions.js";
import { byId, change, headName, hover, named, patches, query, view, watch } from "./store.js";
import { colours } from "./maps.js";
import { paintGrid } from "./grid.js";
import { field, press } from "./fields.js";

const BESIDE = 200; // pixels that the list beside the map takes
const WHICH = { clean: "clean", edited: "edited", difference: "difference", effect: "effect" };
const parts = { map: byId("grid"), left: 30, cell: 20 };
const bar = scaleBar();
let tools = null;

export function startHeads() {
  for (const [which, name] of Object.entries(WHICH)) {
    const one = press(name, () => change({ which }));
    one.dataset.which = which;
    byId("which").append(one);
  }
  byId("heads-scale").append(bar.node);
  tools = controls();
  parts.map.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    toggle(view.shown ?? 0);
  });
  let wired = false;
  watch(() => {
    if (!view.state) return;
    if (!wired) wire();
    wired = true;
    draw();
  });
}

// The shared pointing moves what is shown; a click also chooses.
function wire() {
  const { layers, heads } = view.state.model;
  const does = {
    state: { get head() { return view.shown; } },
    hover,
    wish: change,
    choose: ({ head }) => change({ shown: head ?? view.shown }),
  };
  mapEvents(parts, layers, heads, does);
  parts.map.addEventListener("click", () => hover.head !== null && toggle(hover.head));
}

function toggle(cell) {
  const heads = new Set(view.heads);
  if (!heads.delete(cell)) heads.add(cell);
  change({ heads, shown: cell });
}

function pairs() {
  const { heads } = view.state.model;
  return [...view.heads].sort((a, b) => a - b).map((cell) => [Math.floor(cell / heads), cell % heads]);
}

async function edit(how, factor) {
  const done = await act.add({ kind: "heads", heads: pairs(), how, ...(factor === undefined ? {} : { factor }) });
  if (done) change({ heads: new Set() });
}

async function tryEach() {
  const found = await act.sweep({ what: "heads" });
  if (found) change({ effect: { values: found.values, text: found.text, clean: found.clean }, which: "effect" });
}

function controls() {
  const factor = field("factor", 0.5, { step: 0.1 });
  const all = {
    each: press("Try each head", tryEach, "vx-button strong"),
    out: press("Knock out", () => edit("zero")),
    mean: press("Replace by mean", () => edit("mean")),
    only: press("Keep only these", () => edit("only")),
    scale: press("Scale by", () => edit("scale", factor.value())),
    none: press("Choose none", () => change({ heads: new Set() })),
    own: press("each its own scale", () => change({ own: !view.own })),
  };
  const scaled = make("span", "joined");
  scaled.append(all.scale, factor.node);
  byId("heads-tools").append(all.each, all.out, all.mean, all.only, scaled, all.none, all.own);
  all.each.title = "knock out each head alone, and see how much the answer hangs on it";
  return all;
}

// For every head one number: what it reads of the picture, or what it carries.
function sums() {
  const { layers, heads } = view.state.model;
  if (view.which === "effect") return view.effect.values.flat();
  const keys = patches();
  const out = new Array(layers * heads).fill(NaN);
  view.maps.forEach((rows, layer) => rows?.forEach((row, head) => (out[layer * heads + head] = total(row, keys))));
  return out;
}

function draw() {
  const { layers, heads } = view.state.model;
  const values = sums();
  const effect = view.which === "effect";
  const signed = effect || view.which === "difference";
  const room = byId("grid-box").parentElement.clientWidth;
  const wide = room > BESIDE + 260 ? room - BESIDE : room;
  parts.cell = Math.max(13, Math.min(112, Math.floor((wide - parts.left - 4) / heads)));
  const most = paintGrid(parts, { layers, heads, values, effect, signed, colours: colours(), cursor: hover.head ?? view.shown });
  bar.show(most, signed, effect ? "change of the logit difference without the head" : view.own ? "share of each head's largest weight" : "attention, one scale for all heads");
  for (const one of byId("which").children) {
    const { which } = one.dataset;
    one.setAttribute("aria-pressed", String(which === view.which));
    one.hidden = which === "effect" && !view.effect;
    one.disabled = (which === "edited" || which === "difference") && !view.state.edited;
  }
  byId("heads-of").textContent = effect
    ? `${view.effect.text}: ${number(view.effect.clean)} in the clean run. Each cell: how much it changes when that head alone is knocked out.`
    : `What ${named(query())} reads, by layer (up) and head (across). Click heads to choose them.`;
  byId("heads-readout").textContent = readout(values);
  parts.map.setAttribute("aria-label", `map of ${layers} layers and ${heads} heads: arrows move, Enter chooses`);
  const none = view.heads.size === 0;
  for (const name of ["out", "mean", "only", "scale", "none"]) tools[name].disabled = none;
  tools.own.setAttribute("aria-pressed", String(view.own));
  tools.own.hidden = effect;
  ranking(values, signed);
}

function readout(values) {
  const cell = hover.head ?? view.shown;
  const chosen = view.heads.size ? `Chosen: ${pairs().map(([layer, head]) => `L${layer} H${head}`).join(", ")}.` : "No head is chosen.";
  if (cell === null) return chosen;
  const what = view.which === "effect" ? "changes the difference by" : view.which === "difference" ? "reads more of the picture by" : "reads of the picture:";
  return `${headName(cell)} ${what} ${number(values[cell])}. ${chosen}`;
}

// Nothing is put in another's place while its numbers are on the way: a click would miss.
function ranking(values, signed) {
  const list = byId("ranking");
  const partial = view.which !== "effect" && view.maps.filter(Boolean).length < view.state.model.layers;
  list.setAttribute("aria-busy", String(partial));
  if (!partial) ranked(list, values, signed);
  for (const pick of list.querySelectorAll(".vx-pick")) pick.setAttribute("aria-pressed", String(view.heads.has(Number(pick.dataset.cell))));
}

function ranked(list, values, signed) {
  const order = values.map((_, cell) => cell).filter((cell) => Number.isFinite(values[cell]));
  order.sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
  const most = order.length ? Math.abs(values[order[0]]) : 0;
  const mark = JSON.stringify([view.which, order.slice(0, 8), order.slice(0, 8).map((cell) => values[cell])]);
  if (list.dataset.mark === mark) return;
  list.dataset.mark = mark;
  const held = document.activeElement?.closest?.("#ranking") ? document.activeElement.dataset.cell : null;
  list.replaceChildren(...order.slice(0, 8).map((cell) => line(cell, values[cell], most, signed)));
  if (held !== null) list.querySelector(`[data-cell="${held}"]`)?.focus();
}

function line(cell, value, most, signed) {
  const item = make("li");
  const pick = press("", () => toggle(cell), "vx-pick");
  pick.dataset.cell = String(cell);
  const length = make("span", "vx-length");
  length.style.width = `${most > 0 ? (60 * Math.abs(value)) / most : 0}px`;
  length.style.background = css(tint(value, most, signed));
  const track = make("span", "vx-track");
  track.append(length);
  pick.append(make("span", "vx-name", headName(cell)), track, make("span", "vx-value", number(value)));
  item.append(pick);
  return item;
}
