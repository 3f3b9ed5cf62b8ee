// The words: one to look from, and arrows from a word to what it shall no longer read.

import { block, lock, middleOf, target } from "./picture.js";
import { byId, change, hover, query, view, watch } from "./store.js";
import { colours, shownMap } from "./maps.js";

const FAR = 6; // pixels until a press is a drag

let written = "";
let nodes = new Map();

export function startWords() {
  byId("words").addEventListener("keydown", keys);
  watch(draw);
}

function keys(event) {
  const words = [...nodes.keys()];
  const at = words.indexOf(Number(event.target.dataset.key));
  if (at < 0) return;
  const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: words.length - 1 };
  if (event.key in steps) {
    const next = words[Math.min(words.length - 1, Math.max(0, steps[event.key]))];
    nodes.get(words[at]).tabIndex = -1;
    nodes.get(next).tabIndex = 0;
    nodes.get(next).focus();
  } else if (event.key === "Enter" || event.key === " ") lock(words[at]);
  else if (event.key.toLowerCase() === "b" && !event.ctrlKey && !event.metaKey) cut(words[at]);
  else return;
  event.preventDefault();
}

function cut(word) {
  if (view.region.size) block(word, view.region);
  else change({ error: "Choose a region of the picture first: that is what the word shall no longer read." });
}

function pulled(event, key) {
  if (event.button !== 0) return;
  const from = nodes.get(key).getBoundingClientRect();
  const start = [from.left + from.width / 2, from.top];
  let far = false;
  const move = (moved) => {
    far ||= Math.hypot(moved.clientX - event.clientX, moved.clientY - event.clientY) > FAR;
    if (!far) return;
    arrow(start, [moved.clientX, moved.clientY]);
    mark(under(moved, key));
  };
  const end = (moved) => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", end);
    removeEventListener("pointercancel", end);
    const found = far && moved.type === "pointerup" ? under(moved, key) : null;
    arrow(null);
    mark(null);
    if (!far && moved.type === "pointerup") lock(key);
    else if (found?.size) block(key, found);
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end);
  addEventListener("pointercancel", end);
  nodes.get(key).focus({ preventScroll: true });
  event.preventDefault();
}

// The positions under the arrow's tip: of the picture, or another word.
function under(event, from) {
  const element = document.elementFromPoint(event.clientX, event.clientY);
  if (element?.id === "seen") return target(event.clientX, event.clientY);
  const word = element?.closest?.(".vx-token")?.dataset.key;
  return word === undefined || Number(word) === from ? null : new Set([Number(word)]);
}

// What the arrow would hit is drawn as a region of its own while it is drawn.
function mark(keys) {
  change({ aim: keys });
}

function arrow(start, tip) {
  byId("arrow").classList.toggle("drawn", Boolean(start));
  if (!start) return;
  const [[x, y], [a, b]] = [start, tip];
  const bend = [(x + a) / 2 + (b - y) / 6, (y + b) / 2 - (a - x) / 6];
  const turn = Math.atan2(b - bend[1], a - bend[0]);
  const side = (by) => [a - 13 * Math.cos(turn + by), b - 13 * Math.sin(turn + by)].join(" ");
  byId("arrow-line").setAttribute("d", `M ${x} ${y} Q ${bend.join(" ")} ${a} ${b}`);
  byId("arrow-tip").setAttribute("d", `M ${a} ${b} L ${side(0.45)} L ${side(-0.45)} Z`);
}

// The arrow of an edit that is in the list, from what reads to what it no longer reads.
export function arrowOf(edit) {
  mark(edit && new Set(edit.keys));
  const [start, tip] = edit ? [edit.queries, edit.keys].map(placeOf) : [null];
  arrow(start && tip ? start : null, tip);
}

function placeOf(keys) {
  const word = nodes.get(keys[0]);
  if (!word) return middleOf(keys);
  const box = word.getBoundingClientRect();
  return [box.left + box.width / 2, box.top];
}

function write() {
  const { tokens } = view.state;
  const mark = JSON.stringify(tokens);
  if (mark === written) return;
  written = mark;
  nodes = new Map();
  const list = byId("words");
  list.replaceChildren();
  let pictures = 0;
  tokens.forEach((token, key) => {
    if (token.grid) {
      if (tokens[key - 1]?.grid && tokens[key - 1].image === token.image) return;
      const many = tokens.filter((each) => each.grid && each.image === token.image).length;
      const chip = make("span", "vx-chip", `picture · ${many} patches`);
      chip.setAttribute("role", "presentation");
      if (pictures++ === 0 || tokens[key - 1]?.image !== undefined) list.append(chip);
      return;
    }
    const node = make("span", "vx-token", visible(token.text));
    node.setAttribute("role", "option");
    node.dataset.key = String(key);
    node.dataset.role = token.role;
    node.tabIndex = -1;
    node.addEventListener("pointerdown", (event) => pulled(event, key));
    node.addEventListener("pointerenter", () => point(key));
    node.addEventListener("pointerleave", () => point(null));
    list.append(node);
    nodes.set(key, node);
  });
  const start = nodes.get(query()) ?? [...nodes.values()].at(-1);
  if (start) start.tabIndex = 0;
  const roles = [...new Set([...nodes.values()].map((node) => node.dataset.role))];
  byId("legend").replaceChildren(
    ...roles.map((role) => {
      const item = make("span", "vx-role", role);
      item.dataset.role = role;
      return item;
    }),
  );
}

function point(key) {
  hover.key = key;
  change();
}

function draw() {
  if (!view.state) return;
  write();
  const values = shownMap();
  const signed = view.which === "difference";
  const most = values ? Math.max(1 / view.state.tokens.length, largest(values, nodes.keys())) : 0;
  for (const [key, node] of nodes) {
    const share = values && most > 0 ? Math.abs(values[key]) / most : 0;
    const rgb = over(tint(values?.[key] ?? 0, most, signed), colours().soft, 0.3 + 0.7 * share);
    const strong = share > 0.02;
    node.style.background = strong ? css(rgb) : "";
    node.style.color = strong ? ink(rgb) : "";
    node.title = `position ${key}, ${view.state.tokens[key].role}${values ? `: ${number(values[key])}` : ""}`;
    node.setAttribute("aria-selected", String(key === query()));
  }
}
