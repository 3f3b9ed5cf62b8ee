// What can be done to a region of the picture: its tokens, its position ids, its norms, who reads it.

import { act } from "./actions.js";
import { block } from "./picture.js";
import { byId, change, chosen, named, query, view, watch } from "./store.js";
import { field, given, press } from "./fields.js";

const parts = {};

export function startRegions() {
  parts.rows = field("rows down", 0, { shown: true });
  parts.columns = field("columns right", 1, { shown: true });
  parts.seed = field("seed", 0, { min: 0, shown: true });
  parts.by = field("by", 8);
  parts.factor = field("factor", 2, { step: 0.1 });
  parts.from = field("from layer", null, { min: 0, shown: true, heard: (at) => change({ span: [at, view.span[1]] }) });
  parts.to = field("to layer", null, { min: 0, shown: true, heard: (at) => change({ span: [view.span[0], at] }) });
  parts.block = press("", () => block(query(), chosen()));
  const tokens = (how, more = {}) => act.add({ kind: "tokens", keys: chosen(), how, ...more });
  const positions = (how, more = {}) => act.add({ kind: "positions", keys: chosen(), how, ...more });
  const norms = (how, more = {}) => act.add({ kind: "norms", keys: chosen(), how, ...more });
  byId("region").append(
    row("Tokens", press("Mirror", () => tokens("mirror")), joined(press("Shuffle", () => given([parts.seed], (seed) => tokens("shuffle", { seed }))), parts.seed.node)),
    row("", joined(press("Move", () => given([parts.rows, parts.columns], (...by) => tokens("move", { by }))), parts.rows.node, parts.columns.node)),
    row("Position ids", press("Collapse", () => positions("collapse")), joined(press("Shift", () => given([parts.by], (by) => positions("shift", { by }))), parts.by.node)),
    row("Norms", table(press("Mean of the text", () => norms("text"))), table(press("Each as the text", () => norms("each"))), joined(press("Times", () => given([parts.factor], (factor) => norms("scale", { factor }))), parts.factor.node)),
    row("Reading", joined(parts.block, parts.from.node, parts.to.node)),
  );
  parts.clear = press("Choose none", () => change({ region: new Set() }));
  byId("region-count").after(parts.clear);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.target.matches("input, textarea, dialog *")) return;
    change({ region: new Set(), focus: null, heads: new Set(), shown: null });
  });
  watch(draw);
}

function row(name, ...nodes) {
  const box = make("div", "tool");
  box.setAttribute("role", "group");
  if (name) box.setAttribute("aria-label", name.toLowerCase());
  box.append(make("span", "of", name), ...nodes);
  return box;
}

// Which text is meant: not that of the question.
function table(button) {
  button.title = "the mean length of all text tokens' embeddings that the model has";
  return button;
}

function joined(...nodes) {
  const box = make("span", "joined");
  box.append(...nodes);
  return box;
}

function draw() {
  if (!view.state) return;
  const size = view.region.size;
  byId("region-count").textContent = size ? `${size} ${size === 1 ? "patch" : "patches"}` : "none: the whole picture";
  parts.block.textContent = `${named(query())} must not read it`;
  parts.clear.disabled = !size;
  for (const each of [parts.from, parts.to]) each.input.max = String(view.state.model.layers - 1);
}
