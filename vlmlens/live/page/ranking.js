// What the map of heads says in words, and its strongest heads as a list.

import { byId, editedHeads, headName, hover, isStale, lookedFrom, view } from "./store.js";
import { press } from "./fields.js";

const LISTED = 8;

// What the map shows, or why it no longer does.
export function measured(old) {
  if (old && view.effect.edited && !view.state.edits.length) return "Out of date: these values are of heads beside edits, and nothing is edited now.";
  if (old) {
    const what = view.effect.edited ? "picture, question or other edits" : "picture or question";
    return `Out of date: these values are of another ${what}. Press “Compute again” above.`;
  }
  if (view.which !== "effect") return `What ${lookedFrom()} reads, by layer (up) and head (across). Click heads to choose them.`;
  const { text, clean, mirror, edited } = view.effect;
  const where = mirror ? "Mean over this picture and its mirror image" : "In this picture";
  const caution = mirror ? "" : " Other pictures can rank heads in another way.";
  const beside = edited ? "knocked out beside the edits" : view.state.edits.length ? "alone is knocked out, without the edits" : "alone is knocked out";
  return `${where}: ${text} is ${number(clean)}${edited ? " with the edits" : ""}. Each cell: how much that changes when the head ${edited ? "is " : ""}${beside}.${caution}`;
}

export function readout(values, pairs) {
  const cell = hover.head ?? view.shown;
  const chosen = pairs.length ? `Chosen: ${pairs.map(([layer, head]) => `L${layer} H${head}`).join(", ")}.` : "Click heads to choose them.";
  if (cell === null || (view.which === "effect" && isStale(view.effect))) return chosen;
  const how = { out: " It is knocked out now", changed: " It is edited now" }[editedHeads().get(cell)];
  const now = how ? `${how}: with all edits the answer is “${view.state.edited.answer || "∅"}”.` : "";
  return `${said(cell, values[cell])}${now} ${chosen}`;
}

function said(cell, value) {
  const name = headName(cell);
  if (!Number.isFinite(value)) return `${name}: on the way.`;
  if (view.which === "effect") {
    const { clean, said: answers, mirror, edited } = view.effect;
    const way = value < 0 ? "falls" : "rises";
    const beside = edited ? "as well" : "alone";
    return `Without ${name} ${beside} the logit difference ${way} by ${number(Math.abs(value))}, from ${number(clean)} to ${number(clean + value)}${mirror ? ` (mean of both pictures: ${both(cell)})` : ""}; the answer${mirror ? " here" : ""} is “${answers[cell] || "∅"}”.`;
  }
  if (view.which !== "difference") return `${name} gives the picture ${number(value)} of its attention.`;
  if (Math.abs(value) < 5e-7) return `${name} gives the picture as much of its attention as in the clean run.`;
  return `${name} gives the picture ${number(Math.abs(value))} ${value < 0 ? "less" : "more"} of its attention than in the clean run.`;
}

// A head's change in each of the two pictures: it can carry one answer and not the other.
function both(cell) {
  const [here, there] = view.effect.both.map((values) => number(values[cell]));
  return `here ${here}, mirrored ${there}`;
}

// Nothing is put in another's place while its numbers are on the way: a click would miss.
export function ranking(values, signed, toggle) {
  const list = byId("ranking");
  const partial = view.which !== "effect" && view.maps.filter(Boolean).length < view.state.model.layers;
  list.setAttribute("aria-busy", String(partial));
  const old = view.which === "effect" && isStale(view.effect);
  if (old) list.replaceChildren();
  if (old) list.dataset.mark = "";
  else if (!partial) ranked(list, values, signed, toggle);
  const answered = view.effect?.mirror ? "Mean change without the head, and the answer here" : "Change without the head, and the answer then";
  byId("ranking-title").textContent = { effect: answered, difference: "Change of attention on the picture" }[view.which] ?? "Attention on the picture, of 1";
  const marks = editedHeads();
  for (const pick of list.querySelectorAll(".vx-pick")) {
    const cell = Number(pick.dataset.cell);
    pick.setAttribute("aria-pressed", String(view.heads.has(cell)));
    pick.classList.toggle("out", marks.get(cell) === "out");
  }
}

function ranked(list, values, signed, toggle) {
  const order = values.map((_, cell) => cell).filter((cell) => Number.isFinite(values[cell]));
  order.sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
  const most = order.length ? Math.abs(values[order[0]]) : 0;
  const mark = JSON.stringify([view.which, view.effect?.said, view.effect?.both, order.slice(0, LISTED), order.slice(0, LISTED).map((cell) => values[cell])]);
  if (list.dataset.mark === mark) return;
  list.dataset.mark = mark;
  const held = document.activeElement?.closest?.("#ranking") ? document.activeElement.dataset.cell : null;
  list.replaceChildren(...order.slice(0, LISTED).map((cell) => line(cell, values[cell], most, signed, toggle)));
  if (held !== null) list.querySelector(`[data-cell="${held}"]`)?.focus();
}

function line(cell, value, most, signed, toggle) {
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
  if (view.which === "effect" && view.effect.mirror) pick.append(make("span", "then", both(cell)));
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
