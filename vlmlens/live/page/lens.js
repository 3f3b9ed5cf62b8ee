// The logit lens: what each layer would say next, at the word or patch that is looked from.

import { act } from "./actions.js";
import { byId, change, lookedFrom, query, view, watch } from "./store.js";
import { press } from "./fields.js";

let wanted = "";

export function startLens() {
  for (const edited of [false, true]) {
    const one = press(edited ? "edited" : "clean", () => change({ lensEdited: edited }));
    one.dataset.edited = String(edited);
    byId("lens-which").append(one);
  }
  watch(draw);
}

async function fetchLens() {
  const mark = JSON.stringify([view.version, query(), view.lensEdited]);
  if (mark === wanted || !view.online) return;
  wanted = mark;
  const found = await act.quietly("lens", { position: query(), edited: view.lensEdited });
  if (mark === wanted && found) change({ lens: found });
}

function draw() {
  if (!view.state) return;
  fetchLens();
  for (const one of byId("lens-which").children) {
    const edited = one.dataset.edited === "true";
    one.disabled = edited && !view.state.edited;
    one.setAttribute("aria-pressed", String(edited === view.lensEdited));
  }
  byId("lens-of").textContent = `What each layer would say after ${lookedFrom().replace(/,$/, "")}. Click a word or a patch to look there.`;
  const box = byId("lens");
  const mark = JSON.stringify(view.lens);
  if (!view.lens || box.dataset.mark === mark) return;
  box.dataset.mark = mark;
  box.replaceChildren(table(view.lens));
}

function table({ layers, names }) {
  const node = make("table");
  const head = make("tr");
  head.append(cell("th", "layer", "col"), cell("th", "likeliest first", "col"));
  head.lastChild.colSpan = 5;
  node.append(head);
  [...layers.keys()].reverse().forEach((at) => {
    const row = make("tr");
    row.append(cell("th", names?.[at] ?? String(at), "row"));
    for (const { token, probability } of layers[at]) {
      const one = make("td", "", visible(token));
      one.title = `${JSON.stringify(token)}: ${number(probability)}`;
      one.append(make("small", "", ` ${rounded(probability)} %`));
      one.style.setProperty("--share", `${Math.round(100 * probability)}%`);
      row.append(one);
    }
    node.append(row);
  });
  return node;
}

function rounded(share) {
  return share > 0 && share < 0.005 ? "<1" : Math.round(100 * share);
}

function cell(tag, text, scope) {
  const node = make(tag, "", text);
  node.scope = scope;
  return node;
}
