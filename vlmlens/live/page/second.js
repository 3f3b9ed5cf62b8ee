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
function patch(from, to) {
  const keys = region();
  const edit = { kind: "patch", layers: [from, to], keys };
  const there = view.state.edits.find((each) => each.edit.kind === "patch" && JSON.stringify(each.edit.keys ?? null) === JSON.stringify(keys));
  return there ? act.change(there.number, edit) : act.add(edit);
}

async function tryEach() {
  const keys = region();
  const found = await act.sweep({ what: "layers", keys });
  if (found) change({ layers: { ...found, keys } });
}

function region() {
  return view.region.size ? [...view.region].sort((a, b) => a - b) : null;
}

// What was swept, while the region is the one that it was swept with.
function swept() {
  return view.layers && JSON.stringify(view.layers.keys) === JSON.stringify(region()) ? view.layers : null;
}

function draw() {
  if (!view.state) return;
  const { sample, edits } = view.state;
  const patched = edits.filter((each) => each.edit.kind === "patch").map((each) => each.edit.layers);
  const mark = JSON.stringify([view.version, swept(), view.region.size]);
  const box = byId("second-body");
  if (box.dataset.mark === mark) return;
  box.dataset.mark = mark;
  const held = box.contains(document.activeElement) ? document.activeElement.textContent : null;
  box.replaceChildren(...(sample.second ? chosenPicture(sample, patched) : [hint(), sources(sample)]));
  if (held !== null) [...box.querySelectorAll("button")].find((one) => one.textContent === held)?.focus();
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
  const where = view.region.size ? `${view.region.size} chosen patches` : "all patches";
  side.append(make("p", "hint", `Click a layer: there ${where} come from this picture. Click others to walk, Shift + click for a stretch of layers.`));
  const tools = make("div", "row");
  tools.append(press("Try each layer", tryEach, "vx-button strong"), press("Another file", () => file.click()), press("Take away", () => act.noSecond()));
  side.append(tools);
  pair.append(image, side);
  const bars = swept();
  const found = bars ? [make("p", "hint", `${bars.text}: ${number(bars.clean)} in the clean run. Bars: how much patching that layer changes it.`)] : [];
  return [pair, layerRow(patched), ...found];
}

function layerRow(patched) {
  const row = make("div", "layers");
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", "layer to patch");
  const values = swept()?.values ?? [];
  const most = values.length ? largest(values, values.keys()) : 0;
  for (let layer = 0; layer < view.state.model.layers; layer++) {
    const one = press("", (event) => step(layer, event.shiftKey, patched), "layer");
    one.setAttribute("aria-pressed", String(patched.some(([from, to]) => layer >= from && layer <= to)));
    one.setAttribute("aria-label", `patch layer ${layer}${values.length ? `: ${number(values[layer])}` : ""}`);
    if (values.length) one.append(effect(values[layer], most));
    one.append(make("span", "", String(layer)));
    row.append(one);
  }
  row.addEventListener("keydown", (event) => {
    const to = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    const next = to && event.target.closest(".layer")?.[to];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  return row;
}

function step(layer, stretch, patched) {
  if (!stretch || !patched.length) return patch(layer, layer);
  const [from, to] = patched.at(-1);
  return patch(Math.min(from, layer), Math.max(to, layer));
}

function effect(value, most) {
  const well = make("span", "well");
  const bar = make("span", "rise");
  bar.style.height = `${most > 0 ? (100 * Math.abs(value)) / most : 0}%`;
  bar.style.background = css(tint(value, most, true));
  well.title = number(value);
  well.append(bar);
  return well;
}
