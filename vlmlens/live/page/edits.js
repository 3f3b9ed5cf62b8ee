// The list of edits, each with its Python; undo, redo, and everything as code.

import { act } from "./actions.js";
import { byId, change, view, watch } from "./store.js";
import { field, given, press } from "./fields.js";
import { arrowOf } from "./words.js";

const COPIED = 1600; // milliseconds

export function startEdits() {
  byId("undo").addEventListener("click", act.undo);
  byId("redo").addEventListener("click", act.redo);
  byId("clear").addEventListener("click", act.clear);
  byId("copy").addEventListener("click", copy);
  document.addEventListener("keydown", (event) => {
    const z = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.altKey;
    if (!z || event.target.matches("input, textarea")) return; // a field of text undoes its own typing
    event.preventDefault();
    if (event.shiftKey) act.redo();
    else act.undo();
  });
  watch(draw);
}

async function copy() {
  const python = await act.code();
  await copied(python, byId("copy"));
}

// Python, shown below the edits and put on the clipboard; the button says so for a while.
export async function copied(python, button) {
  if (!python) return;
  change({ code: python });
  byId("code").hidden = false;
  byId("code").textContent = python;
  const name = button.dataset.name ??= button.textContent;
  button.style.minWidth = `${button.offsetWidth}px`; // what stands beside it stays where it is
  const said = await navigator.clipboard?.writeText(python).then(() => "Copied", () => null);
  if (!said) {
    getSelection().selectAllChildren(byId("code"));
    byId("code").scrollIntoView({ block: "nearest" });
  }
  button.textContent = said ?? "Selected: press Ctrl + C";
  setTimeout(() => (button.textContent = name), COPIED);
}

function draw() {
  if (!view.state) return;
  const { edits, undo, redo, dropped } = view.state;
  byId("undo").disabled = !undo;
  byId("redo").disabled = !redo;
  byId("clear").disabled = edits.length === 0;
  byId("code").hidden = !view.code;
  byId("code").textContent = view.code;
  const list = byId("edits");
  const mark = JSON.stringify([edits, dropped]);
  if (list.dataset.mark === mark) return;
  list.dataset.mark = mark;
  const held = list.contains(document.activeElement);
  list.replaceChildren(...edits.map(item));
  if (!edits.length) list.append(make("li", "hint", "None. Everything that you change is listed here, with the line of Python that does the same."));
  if (held) (list.querySelector("button") ?? byId("undo")).focus();
  byId("dropped").replaceChildren(...(dropped ?? []).map(({ label, reason }) => make("li", "", `${label} was dropped: ${reason}`)));
}

function item({ number: at, label, python, edit }) {
  const node = make("li");
  const line = make("div", "top");
  const tools = make("div", "row");
  if (edit.how === "scale") {
    const factor = field(`factor of ${label}`, edit.factor, { step: 0.1, heard: () => given([factor], (value) => act.change(at, { ...edit, factor: value })) });
    tools.append(factor.node);
  }
  if (edit.kind === "heads" && edit.how !== "only") tools.append(control(at, label, edit));
  const remove = press("Remove", () => act.remove(at));
  remove.setAttribute("aria-label", `remove: ${label}`);
  tools.append(remove);
  line.append(make("span", "label", label), tools);
  node.append(line, make("code", "", python));
  if (edit.kind === "block") pointed(node, edit);
  return node;
}

// A control: the same of as many other heads of the same layers, drawn at random.
function control(at, label, edit) {
  const { heads: count } = view.state.model;
  const layers = new Map();
  for (const [layer, head] of edit.heads) layers.set(layer, [...(layers.get(layer) ?? []), head]);
  const one = press("Other heads", () => {
    const heads = [...layers].flatMap(([layer, own]) => {
      const free = [...Array(count).keys()].filter((head) => !own.includes(head));
      return own.map(() => [layer, free.splice(Math.floor(Math.random() * free.length), 1)[0]]);
    });
    return act.change(at, { ...edit, heads });
  });
  one.disabled = [...layers.values()].some((own) => 2 * own.length > count);
  one.title = one.disabled ? "a layer has not as many other heads" : "a control: the same of as many other heads of these layers, drawn at random; Undo brings these back";
  one.setAttribute("aria-label", `other heads in place of: ${label}`);
  return one;
}

// While an edit that cuts reading is pointed at, or has the focus, its arrow is drawn.
function pointed(node, edit) {
  for (const name of ["pointerenter", "focusin"]) node.addEventListener(name, () => arrowOf(edit));
  for (const name of ["pointerleave", "focusout"]) node.addEventListener(name, () => arrowOf(null));
}
