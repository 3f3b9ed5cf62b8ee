// The map of heads: what each one reads, which ones are chosen, what is done to them, what each one carries.

import { act, showMap } from "./actions.js";
import { byId, change, editedHeads, headName, hover, isStale, named, patches, query, view, watch } from "./store.js";
import { colours } from "./maps.js";
import { paintGrid } from "./grid.js";
import { copied } from "./edits.js";
import { field, given, press } from "./fields.js";

const BESIDE = 216; // pixels that the list beside the map takes
const WHICH = { clean: "clean", edited: "edited", difference: "difference", effect: "effect" };
const QUICK = 1.5; // seconds that a map may take to be computed anew without being asked for
const parts = { map: byId("grid"), left: 30, cell: 20, at: null };
const bar = scaleBar();
let tools = null;
let trying = false;

export function startHeads() {
  for (const [which, name] of Object.entries(WHICH)) {
    const one = press(name, () => showMap(view.effect, which));
    one.dataset.which = which;
    byId("which").append(one);
  }
  byId("heads-scale").append(bar.node);
  tools = controls();
  parts.map.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    toggle(parts.at ?? view.shown ?? 0);
  });
  for (const name of ["focus", "blur"]) parts.map.addEventListener(name, () => change());
  byId("mean").addEventListener("click", () => change({ shown: null, heads: new Set() }));
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
    state: { get head() { return parts.at ?? view.shown; } },
    hover,
    wish: change,
    choose: ({ head }) => {
      parts.at = head ?? parts.at;
      change({ shown: parts.at });
    },
  };
  mapEvents(parts, layers, heads, does);
  parts.map.addEventListener("click", () => hover.head !== null && toggle(hover.head));
}

// A head that is chosen is what the picture shows; let go, all of them again.

function toggle(cell) {
  const heads = new Set(view.heads);
  const off = heads.delete(cell);
  if (!off) heads.add(cell);
  parts.at = cell;
  change({ heads, shown: off ? null : cell });
}

function pairs() {
  const { heads } = view.state.model;
  return [...view.heads].sort((a, b) => a - b).map((cell) => [Math.floor(cell / heads), cell % heads]);
}

async function edit(how, factor) {
  const done = await act.add({ kind: "heads", heads: pairs(), how, ...(factor === undefined ? {} : { factor }) });
  if (done) change({ heads: new Set() });
}

async function tryEach(mirror) {
  if (trying) return;
  trying = true;
  const began = performance.now();
  const found = await act.sweep({ what: "heads", mirror });
  trying = false;
  // Answers come in the order of requests: by now the page shows what the map was made of.
  if (found) showMap({ ...found, of: view.asked, seconds: (performance.now() - began) / 1000 }, "effect");
  else if (view.effect) change({ effect: { ...view.effect, seconds: Infinity } }); // not again by itself
}

// What was quick is computed anew by itself; else the page says that it is out of date.
function follow() {
  const { effect, which, online, work } = view;
  if (which === "effect" && online && !work && !trying && isStale(effect) && effect.seconds < QUICK) tryEach(effect.mirror);
}

function controls() {
  const factor = field("factor", 0.5, { step: 0.1 });
  const all = {
    each: press("Try each head", () => tryEach(false), "vx-button strong"),
    mirror: press("Try each, in the mirror image too", () => tryEach(true)),
    out: press("Knock out", () => edit("zero")),
    mean: press("Replace by mean", () => edit("mean")),
    only: press("Keep only these", () => edit("only")),
    scale: press("Scale by", () => given([factor], (by) => edit("scale", by))),
    none: press("Choose none", () => change({ heads: new Set(), shown: null })),
    own: press("One scale for all heads", () => change({ own: !view.own })),
  };
  const scaled = make("span", "joined");
  scaled.append(all.scale, factor.node);
  byId("heads-tools").append(all.each, all.mirror, all.out, all.mean, all.only, scaled, all.none, all.own);
  all.each.title = "knock out each head alone, and see how much the answer hangs on it";
  all.mirror.title = "the same for the mirror image, and the mean of both";
  byId("many").append(press("Copy code for many pictures", async (event) => copied(await act.code(true), event.target)));
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
  const old = effect && isStale(view.effect);
  follow();
  const signed = effect || view.which === "difference";
  const room = byId("grid-box").parentElement.clientWidth;
  const wide = room > BESIDE + 260 ? room - BESIDE : room;
  parts.cell = Math.max(13, Math.min(112, Math.floor((wide - parts.left - 4) / heads)));
  const most = paintGrid(parts, { layers, heads, values, effect, signed, colours: colours(), cursor: hover.head ?? (document.activeElement === parts.map ? parts.at : null) ?? view.shown, marks: editedHeads() });
  parts.map.classList.toggle("old", old);
  bar.show(most, signed, effect ? "change of the logit difference without the head" : view.own ? "each head has its own scale: 1 is its largest weight on the picture" : "attention, one scale for all heads");
  for (const one of byId("which").children) {
    const { which } = one.dataset;
    one.setAttribute("aria-pressed", String(which === view.which));
    one.hidden = which === "effect" && !view.effect;
    one.disabled = (which === "edited" || which === "difference") && !view.state.edited;
  }
  byId("heads-of").textContent = old ? "Out of date: these values are of another picture or question." : effect ? measure() : `What ${named(query())} reads, by layer (up) and head (across). Click heads to choose them.`;
  byId("heads-readout").textContent = readout(values);
  parts.map.setAttribute("aria-label", `map of ${layers} layers and ${heads} heads: arrows move, Enter chooses`);
  const none = view.heads.size === 0;
  for (const name of ["out", "mean", "only", "scale", "none"]) tools[name].disabled = none;
  tools.own.setAttribute("aria-pressed", String(!view.own));
  tools.each.textContent = old ? "Compute again" : "Try each head";
  byId("many").hidden = !effect;
  byId("mean").style.visibility = view.shown === null ? "hidden" : "";
  tools.own.hidden = effect;
  ranking(values, signed);
}

function measure() {
  const { text, clean, mirror } = view.effect;
  const where = mirror ? "Mean over this picture and its mirror image" : "In this picture";
  const caution = mirror ? "" : " Other pictures can rank heads in another way.";
  return `${where}: ${text} is ${number(clean)}. Each cell: how much that changes when the head alone is knocked out.${caution}`;
}

function readout(values) {
  const cell = hover.head ?? view.shown;
  const chosen = view.heads.size ? `Chosen: ${pairs().map(([layer, head]) => `L${layer} H${head}`).join(", ")}.` : "Click heads to choose them.";
  if (cell === null) return chosen;
  const how = { out: " It is knocked out now.", changed: " It is edited now." }[editedHeads().get(cell)] ?? "";
  return `${said(cell, values[cell])}${how} ${chosen}`;
}

function said(cell, value) {
  const name = headName(cell);
  if (!Number.isFinite(value)) return `${name}: on the way.`;
  if (view.which === "effect") {
    const { clean, said: answers, mirror } = view.effect;
    const way = value < 0 ? "falls" : "rises";
    return `Without ${name} the logit difference ${way} by ${number(Math.abs(value))}, from ${number(clean)} to ${number(clean + value)}${mirror ? " (mean of both pictures)" : ""}; the answer${mirror ? " here" : ""} is “${answers[cell] || "∅"}”.`;
  }
  if (view.which !== "difference") return `${name} gives the picture ${number(value)} of its attention.`;
  if (Math.abs(value) < 5e-7) return `${name} gives the picture as much of its attention as in the clean run.`;
  return `${name} gives the picture ${number(Math.abs(value))} ${value < 0 ? "less" : "more"} of its attention than in the clean run.`;
}

// Nothing is put in another's place while its numbers are on the way: a click would miss.
function ranking(values, signed) {
  const list = byId("ranking");
  const partial = view.which !== "effect" && view.maps.filter(Boolean).length < view.state.model.layers;
  list.setAttribute("aria-busy", String(partial));
  const old = view.which === "effect" && isStale(view.effect);
  if (old) list.replaceChildren();
  if (old) list.dataset.mark = "";
  else if (!partial) ranked(list, values, signed);
  byId("ranking-title").textContent = { effect: "Change without the head, and the answer then", difference: "Change of attention on the picture" }[view.which] ?? "Attention on the picture, of 1";
  const marks = editedHeads();
  for (const pick of list.querySelectorAll(".vx-pick")) {
    const cell = Number(pick.dataset.cell);
    pick.setAttribute("aria-pressed", String(view.heads.has(cell)));
    pick.classList.toggle("out", marks.get(cell) === "out");
  }
}

function ranked(list, values, signed) {
  const order = values.map((_, cell) => cell).filter((cell) => Number.isFinite(values[cell]));
  order.sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
  const most = order.length ? Math.abs(values[order[0]]) : 0;
  const mark = JSON.stringify([view.which, view.effect?.said, order.slice(0, 8), order.slice(0, 8).map((cell) => values[cell])]);
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
  length.style.width = `${most > 0 ? (100 * Math.abs(value)) / most : 0}%`;
  if (signed) length.classList.add(value < 0 ? "less" : "more");
  const track = make("span", "vx-track");
  track.append(length);
  pick.append(make("span", "vx-name", headName(cell)), track, make("span", "vx-value", number(value)));
  if (view.which === "effect") pick.append(without(cell));
  item.append(pick);
  return item;
}

// The answer without a head, marked where it is neither of the two that are compared.
function without(cell) {
  const { said: answers, others, tokens } = view.effect;
  const node = make("span", "then", `→ ${answers[cell] || "∅"}`);
  if (others[cell]) {
    node.classList.add("neither");
    node.append(make("small", "", ` (neither ${tokens.map((token) => token.trim()).join(" nor ")})`));
  }
  return node;
}
