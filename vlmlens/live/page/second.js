// A second picture, and the layers at which the first one's patches are replaced by its.

import { act } from "./actions.js";
import { byId, change, view, watch } from "./store.js";
import { press } from "./fields.js";

const file = make("input");

export function startSecond() {
  file.type = "file";
  file.accept = "image/*";
  file.hidden = true;
  file.setAttribute("aria-label", "second picture file");
  file.addEventListener("change", () => {
    if (file.files.length) act.second(file.files[0]);
    file.value = "";
  });
  byId("second").append(file);
  watch(draw);
}

// The same patch at another layer is the same edit moved, so that layers can be walked through.
function patch(layers) {
  const keys = region();
  const edit = { kind: "patch", layers, keys };
  const there = view.state.edits.find((each) => each.edit.kind === "patch" && JSON.stringify(each.edit.keys ?? null) === JSON.stringify(keys));
  return there ? act.change(there.number, edit) : act.add(edit);
}

async function tryEach() {
  const keys = region();
  const found = await act.sweep({ what: "layers", keys });
  if (found) change({ layers: { ...found, keys, of: of() } });
}

function region() {
  return view.region.size ? [...view.region].sort((a, b) => a - b) : null;
}

function of() {
  return JSON.stringify([view.asked, view.state.sample.second]);
}

// What was swept, while the region, the question and both pictures are those that it was swept with.
function swept() {
  return view.layers && !stale() ? view.layers : null;
}

function stale() {
  return view.layers !== null && (view.layers.of !== of() || JSON.stringify(view.layers.keys) !== JSON.stringify(region()));
}

function draw() {
  if (!view.state) return;
  const { sample, edits } = view.state;
  const patched = edits.filter((each) => each.edit.kind === "patch").map((each) => each.edit.layers);
  const mark = JSON.stringify([view.version, swept(), stale(), view.region.size]);
  const box = byId("second-body");
  if (box.dataset.mark === mark) return;
  box.dataset.mark = mark;
  const held = box.contains(document.activeElement) ? document.activeElement.dataset.at ?? document.activeElement.textContent : null;
  box.replaceChildren(...(sample.second ? chosenPicture(sample, patched) : [hint(), sources(sample)]));
  if (held !== null) [...box.querySelectorAll("button")].find((one) => (one.dataset.at ?? one.textContent) === held)?.focus();
}

function hint() {
  return make("p", "hint", "With another picture you can ask at which layer the answer is decided: replace the first picture's stream by the second's, layer by layer.");
}

function sources(sample) {
  const row = make("div", "row");
  if (sample.scene) {
    row.append(press("Mirror image", () => act.secondScene(sample.scene.map((s) => ({ ...s, x: Math.round(1e6 * (1 - s.x)) / 1e6 })))));
    if (sample.scene.length > 1) row.append(press("First two shapes exchanged", () => act.secondScene(exchanged(sample.scene))));
  }
  row.append(press("Choose a file", () => file.click()));
  return row;
}

function exchanged([a, b, ...rest]) {
  return [{ ...a, x: b.x, y: b.y }, { ...b, x: a.x, y: a.y }, ...rest];
}

function chosenPicture(sample, patched) {
  const pair = make("div", "second");
  const image = make("img");
  image.src = sample.second;
  image.alt = "the second picture";
  const side = make("div");
  const where = view.region.size ? `the ${view.region.size} chosen patches` : "all patches";
  side.append(make("p", "hint", `Click a layer: after it, ${where} hold what they hold for this second picture. Click another layer to move the patch there; Shift + click patches every layer in between.`));
  const tools = make("div", "row");
  tools.append(press("Try each layer", tryEach, "vx-button strong"), press("Another file", () => file.click()), press("Take away", () => act.noSecond()));
  side.append(tools);
  const left = make("div");
  left.append(image);
  const found = swept();
  if (found) left.append(make("p", "hint", `Its own answer: ${found.second.answer || "∅"}`));
  pair.append(left, side);
  return [pair, layerRow(patched), ...(found ? told(found) : stale() ? [make("p", "hint", "The picture, the question or the region is another now. Press “Try each layer” to compute the bars again.")] : [])];
}

// What the numbers over the layers are, and where the answer changes.
function told(found) {
  const here = `${found.text} is ${number(found.clean)}`;
  const scale = found.shares
    ? `Numbers: how far a patch there moves the answer. 0: as for this picture, where ${here}. 1: as for the second picture, where it is ${number(found.second.difference)}.`
    : `For both pictures, ${here}: there is no way from one to the other to measure. Numbers: how much a patch there changes it.`;
  const flips = found.flips.map((flip, at) => (flip ? `${layerName(at)} (“${found.said[at]}”)` : null)).filter(Boolean);
  const where = flips.length ? `The answer begins with another word when patched ${flips.join(", ")}.` : "At no single layer does the answer begin with another word.";
  return [make("p", "hint", scale), make("p", "", where)];
}

// The bars are those before layer 0, after layer 0, after layer 1 ...
function layerName(at) {
  return at === 0 ? "before layer 0" : `after layer ${at - 1}`;
}

function layerRow(patched) {
  const row = make("div", "layers");
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", "layer to patch");
  const found = swept();
  if (found?.shares) {
    const scale = make("span", "scale");
    scale.append(make("span", "", "1"), make("span", "", "0"));
    scale.setAttribute("aria-hidden", "true");
    row.append(scale);
  }
  const most = found ? largest(found.values, found.values.keys()) : 0;
  for (let at = 0; at <= view.state.model.layers; at++) {
    const layer = at - 1;
    const one = press("", (event) => (layer < 0 ? patch(null) : step(layer, event.shiftKey, patched)), "layer");
    one.dataset.at = String(at);
    one.setAttribute("aria-pressed", String(patched.some((each) => (each ? layer >= each[0] && layer <= each[1] : layer < 0))));
    const name = layer < 0 ? "patch before layer 0" : `patch layer ${layer}`;
    one.setAttribute("aria-label", name);
    one.title = name;
    if (found) {
      const value = found.shares ? found.shares[at] : found.values[at];
      const words = `${name}: ${hundredths(value)}${found.shares ? " of the way to the second picture" : ""}, answer “${found.said[at]}”`;
      one.setAttribute("aria-label", words);
      one.title = words;
      one.append(make("span", "share", hundredths(value)), rise(found.shares ? value : Math.abs(value) / (most || 1)));
      one.classList.toggle("flips", found.flips[at]);
    }
    one.append(make("span", "", layer < 0 ? "input" : String(layer)));
    row.append(one);
  }
  row.addEventListener("keydown", (event) => {
    const to = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    const next = to && event.target.closest(".layer")?.[to];
    if (!next?.matches(".layer")) return;
    event.preventDefault();
    next.focus();
  });
  return row;
}

function hundredths(value) {
  return value.toFixed(2).replace(/^-(?=0\.00$)/, "").replace("-", "−");
}

function step(layer, stretch, patched) {
  const last = patched.filter(Boolean).at(-1);
  if (!stretch || !last) return patch([layer, layer]);
  return patch([Math.min(last[0], layer), Math.max(last[1], layer)]);
}

// A bar from 0 to 1; what lies outside is said by its number.
function rise(share) {
  const well = make("span", "well");
  const bar = make("span", "rise");
  bar.style.height = `${100 * Math.min(1, Math.max(0, share))}%`;
  well.append(bar);
  return well;
}
