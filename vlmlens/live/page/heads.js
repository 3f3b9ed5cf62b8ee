// The map of heads: what each one reads, which ones are chosen, what is done to them, what each one carries.

import { act, showMap } from "./actions.js";
import { byId, change, editedHeads, hover, isStale, patches, view, watch } from "./store.js";
import { colours } from "./maps.js";
import { paintGrid } from "./grid.js";
import { copied } from "./edits.js";
import { field, given, press } from "./fields.js";
import { measured, ranking, readout } from "./ranking.js";

const BESIDE = 216; // pixels that the list beside the map takes
const WHICH = { clean: "clean", edited: "edited", difference: "difference", effect: "effect" };
const TRIES = {
  each: { name: "Try each head", mirror: false, edited: false, title: "knock out each head alone, and see how much the answer hangs on it" },
  mirror: { name: "Try each, in the mirror image too", mirror: true, edited: false, title: "the same for the mirror image, and the mean of both" },
  under: { name: "Try each, beside the edits", mirror: false, edited: true, title: "knock out each head beside what is edited now: what else the answer hangs on" },
};
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

async function tryEach({ mirror, edited }) {
  if (trying) return;
  trying = true;
  const began = performance.now();
  const found = await act.sweep({ what: "heads", mirror, edited });
  trying = false;
  // Answers come in the order of requests: by now the page shows what the map was made of.
  if (found) showMap({ ...found, of: edited ? view.edited : view.asked, seconds: (performance.now() - began) / 1000 }, "effect");
  else if (view.effect) change({ effect: { ...view.effect, seconds: Infinity } }); // not again by itself
}

// What was quick is computed anew by itself; else the page says that it is out of date.
function follow() {
  const { effect, which, online, work } = view;
  if (which === "effect" && online && !work && !trying && isStale(effect) && effect.seconds < QUICK && !idle(effect)) tryEach(effect);
}

// A map beside edits, of which there are none now.
function idle(effect) {
  return effect.edited && !view.state.edits.length;
}

function controls() {
  const factor = field("factor", 0.5, { step: 0.1 });
  const all = {
    out: press("Knock out", () => edit("zero")),
    mean: press("Replace by mean", () => edit("mean")),
    only: press("Keep only these", () => edit("only")),
    scale: press("Scale by", () => given([factor], (by) => edit("scale", by))),
    none: press("Choose none", () => change({ heads: new Set(), shown: null })),
    own: press("One scale for all heads", () => change({ own: !view.own })),
  };
  const scaled = make("span", "joined");
  scaled.append(all.scale, factor.node);
  for (const [key, how] of Object.entries(TRIES)) {
    all[key] = press(how.name, () => tryEach(how), key === "each" ? "vx-button strong" : "vx-button");
    all[key].title = how.title;
    byId("heads-try").append(all[key]);
  }
  byId("heads-tools").append(all.out, all.mean, all.only, scaled, all.none, all.own);
  byId("many").append(make("span"), press("Copy code for many pictures", async (event) => copied(await act.code(true), event.target)));
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
  const room = byId("grid-box").closest(".heads").clientWidth;
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
  byId("heads-of").textContent = measured(old);
  byId("heads-readout").textContent = readout(values, pairs());
  parts.map.setAttribute("aria-label", `map of ${layers} layers and ${heads} heads: arrows move, Enter chooses`);
  const none = view.heads.size === 0;
  for (const name of ["out", "mean", "only", "scale", "none"]) tools[name].disabled = none;
  tools.own.setAttribute("aria-pressed", String(!view.own));
  for (const [key, how] of Object.entries(TRIES)) {
    const shown = effect && how.mirror === view.effect.mirror && how.edited === Boolean(view.effect.edited);
    tools[key].textContent = shown && old ? "Compute again" : how.name;
    tools[key].setAttribute("aria-pressed", String(shown));
  }
  tools.under.disabled = !view.state.edits.length;
  byId("many").hidden = !effect;
  byId("many").firstElementChild.textContent = `This map is of one question and ${view.effect?.mirror ? "two pictures" : "one picture"}. To rank heads over many, and to try some of them beside others, with intervals: `;
  byId("mean").style.visibility = view.shown === null ? "hidden" : "";
  tools.own.hidden = effect;
  ranking(values, signed, toggle);
}
