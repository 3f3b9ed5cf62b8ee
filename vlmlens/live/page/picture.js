// The picture under its patches: what is read on it, a region to choose, shapes to move.

import { act } from "./actions.js";
import { byId, change, headName, hover, named, patches, query, view, watch } from "./store.js";
import { colours, shownMap } from "./maps.js";

const STEP = 1 / 16; // how far an arrow key moves a shape, in canvases
const DARK = 0.002; // a picture of which no patch is read more than this is shown as it is
const THIN = 0; // thickness of the veil where nothing is read: it grows with attention, as in figures
const RESTS = 500; // milliseconds after the last key until the moved shape counts

const panel = { canvas: byId("seen"), keys: [], rects: [], width: 1, height: 1, shown: 1, cursor: null };
const scale = scaleBar();
let image = null;
let source = "";
let resting = null;
let bare = { of: null };

export function startPicture() {
  byId("scale").append(scale.node);
  byId("board").addEventListener("pointerdown", grab, true);
  panelEvents(panel, {
    state: view,
    hover,
    wish: change,
    choose: (part) => change({ region: new Set(part.region) }),
    lock,
    point: (key) => {
      hover.key = key;
      change();
    },
  });
  panel.canvas.addEventListener("keydown", (event) => event.key.toLowerCase() === "b" && !event.ctrlKey && !event.metaKey && blockHere());
  byId("veil").addEventListener("click", () => change({ veil: !view.veil }));
  for (const button of byId("modes").children) {
    button.addEventListener("click", () => change({ mode: button.dataset.mode }));
  }
  new ResizeObserver(() => change()).observe(byId("board"));
  watch(draw);
}

export function lock(key) {
  change({ focus: view.focus === key ? null : key });
}

function blockHere() {
  const keys = view.region.size ? [...view.region] : panel.cursor === null ? [] : [panel.cursor];
  if (keys.length) block(query(), keys);
}

export function block(from, keys) {
  const [first, last] = view.span;
  const deepest = view.state.model.layers - 1;
  const layers = first === null && last === null ? null : [first ?? 0, last ?? deepest];
  return act.add({ kind: "block", queries: [from], keys: [...keys].sort((a, b) => a - b), layers });
}

// Where an arrow that ends here would end: the chosen region, a drawn shape, or one patch.
export function target(clientX, clientY) {
  const [x, y] = place(clientX, clientY);
  const at = panel.rects.findIndex(([l, t, r, b]) => x >= l && x < r && y >= t && y < b);
  if (at < 0) return new Set();
  if (view.region.has(panel.keys[at])) return view.region;
  const shape = shapeAt(x, y);
  return shape < 0 ? new Set([panel.keys[at]]) : covered(scene()[shape]);
}

// The middle of patches, in the window's pixels; null where none of them is on the picture.
export function middleOf(keys) {
  const here = keys.map((key) => panel.rects[panel.keys.indexOf(key)]).filter(Boolean);
  if (!here.length) return null;
  const frame = panel.canvas.getBoundingClientRect();
  const mean = (side) => here.reduce((sum, rect) => sum + rect[side] + rect[side + 2], 0) / (2 * here.length);
  return [frame.left + (mean(0) * frame.width) / panel.width, frame.top + (mean(1) * frame.height) / panel.height];
}

function place(clientX, clientY) {
  const frame = panel.canvas.getBoundingClientRect();
  return [((clientX - frame.left) / frame.width) * panel.width, ((clientY - frame.top) / frame.height) * panel.height];
}

function scene() {
  return view.draft ?? view.state.sample.scene ?? [];
}

function shapeAt(x, y) {
  return scene().findIndex((s) => Math.abs(x / panel.width - s.x) <= s.radius && Math.abs(y / panel.height - s.y) <= s.radius);
}

function covered({ x, y, radius }) {
  const [l, r] = [(x - radius) * panel.width, (x + radius) * panel.width];
  const [t, b] = [(y - radius) * panel.height, (y + radius) * panel.height];
  return new Set(panel.keys.filter((_, at) => panel.rects[at][0] < r && panel.rects[at][2] > l && panel.rects[at][1] < b && panel.rects[at][3] > t));
}

// ---------------------------------------------------------------- moving shapes

function grab(event) {
  if (view.mode !== "move" || event.button !== 0) return;
  event.stopPropagation();
  const [x, y] = place(event.clientX, event.clientY);
  const at = shapeAt(x, y);
  if (at < 0) return;
  const held = scene()[at];
  const drag = (moved) => {
    const [here, there] = place(moved.clientX, moved.clientY);
    put(at, held.x + (here - x) / panel.width, held.y + (there - y) / panel.height);
  };
  const drop = (moved) => {
    removeEventListener("pointermove", drag);
    removeEventListener("pointerup", drop);
    removeEventListener("pointercancel", drop);
    if (moved.type === "pointerup" && view.draft) settle();
    else change({ draft: null });
  };
  addEventListener("pointermove", drag);
  addEventListener("pointerup", drop);
  addEventListener("pointercancel", drop);
}

function put(at, x, y) {
  const inside = (value, radius) => Math.round(1e4 * Math.min(0.99 - radius, Math.max(0.01 + radius, value))) / 1e4;
  change({ draft: scene().map((s, i) => (i === at ? { ...s, x: inside(x, s.radius), y: inside(y, s.radius) } : s)) });
}

async function settle() {
  if ((await act.scene(view.draft)) === null) change({ draft: null });
}

function shapeKeys(event, at) {
  const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const [right, down] = steps[event.key];
  put(at, scene()[at].x + STEP * right, scene()[at].y + STEP * down);
  clearTimeout(resting);
  resting = setTimeout(settle, RESTS);
}

function shapeButtons() {
  const box = byId("shapes");
  box.hidden = view.mode !== "move" || !view.state.sample.scene;
  const names = scene().map((s) => `${s.color} ${s.shape}`);
  if (box.dataset.names === JSON.stringify(names)) return;
  box.dataset.names = JSON.stringify(names);
  box.replaceChildren(
    ...names.map((name, at) => {
      const one = button(`↔ ${name}`, () => {});
      one.addEventListener("keydown", (event) => shapeKeys(event, at));
      return one;
    }),
  );
}

// ---------------------------------------------------------------- drawing

async function load(address) {
  source = address;
  const opened = await loaded({ source: address });
  if (source === address) image = opened;
  change();
}

function draw() {
  if (!view.state) return;
  const { sample, tokens } = view.state;
  if (sample.picture !== source) load(sample.picture);
  panel.keys = patches();
  panel.rects = panel.keys.map((key) => tokens[key].box ?? [0, 0, 0, 0]);
  [panel.width, panel.height] = [sample.width, sample.height];
  fitted(panel, Math.min(byId("board").clientWidth, 640));
  const values = shownMap();
  const veiled = view.veil && view.mode !== "move" && values !== null && panel.keys.some((key) => Math.abs(values[key]) > DARK);
  const signed = view.which === "difference";
  const most = values ? Math.max(signed ? 1e-6 : 1 / tokens.length, largest(values, panel.keys)) : 0;
  paintPanel(panel, { colours: colours(), picture: image, values: veiled ? values : null, most, signed, least: THIN, region: view.aim ?? view.region, locked: view.focus, cursor: panel.cursor });
  ghosts();
  scale.show(most, signed, signed ? "change of attention" : "attention");
  scale.node.style.visibility = veiled ? "" : "hidden"; // what is below stays where it is
  byId("veil").setAttribute("aria-pressed", String(view.veil));
  byId("veil").title = "lay what is read on the picture";
  panel.canvas.setAttribute("aria-label", `picture, ${panel.keys.length} patches: arrows move, Shift + arrows choose a region, Space adds a patch, Enter looks from a patch, B blocks it`);
  byId("board").classList.toggle("moving", view.mode === "move");
  byId("modes").hidden = !sample.scene;
  for (const each of byId("modes").children) each.setAttribute("aria-pressed", String(each.dataset.mode === view.mode));
  shapeButtons();
  byId("readout").textContent = sentence(values);
}

function ghosts() {
  if (view.mode !== "move") return;
  const pen = panel.canvas.getContext("2d");
  if (view.draft && image) redrawn(pen);
  const size = panel.shown;
  const high = (panel.height * panel.shown) / panel.width;
  scene().forEach((s, at) => {
    const moved = view.draft && (s.x !== view.state.sample.scene[at]?.x || s.y !== view.state.sample.scene[at]?.y);
    pen.setLineDash(moved ? [] : [4, 4]);
    pen.lineWidth = moved ? 3 : 1.5;
    pen.strokeStyle = moved ? "#ff2e88" : "#10161d";
    pen.strokeRect((s.x - s.radius) * size, (s.y - s.radius) * high, 2 * s.radius * size, 2 * s.radius * high);
  });
  pen.setLineDash([]);
}

// What is dragged goes with the pointer: its piece of the picture, and plain ground where it was.
function redrawn(pen) {
  const [wide, high] = [panel.shown, (panel.height * panel.shown) / panel.width];
  const was = view.state.sample.scene;
  const moved = view.draft.map((_, at) => at).filter((at) => was[at] && (view.draft[at].x !== was[at].x || view.draft[at].y !== was[at].y));
  const frame = ({ x, y, radius }, w, h) => [(x - radius) * w, (y - radius) * h, 2 * radius * w, 2 * radius * h];
  pen.fillStyle = ground();
  for (const at of moved) pen.fillRect(...frame(was[at], wide, high));
  for (const at of moved) {
    pen.drawImage(image, ...frame(was[at], image.naturalWidth, image.naturalHeight), ...frame(view.draft[at], wide, high));
  }
}

// The colour of a scene's corner, where no shape is.
function ground() {
  if (bare.of === image) return bare.colour;
  const one = document.createElement("canvas");
  one.width = one.height = 1;
  const pen = one.getContext("2d");
  pen.drawImage(image, 0, 0, 1, 1, 0, 0, 1, 1);
  bare = { of: image, colour: css([...pen.getImageData(0, 0, 1, 1).data].slice(0, 3)) };
  return bare.colour;
}

function sentence(values) {
  if (view.mode === "move") return "Drag a shape to another place, or give one the focus and use the arrow keys.";
  const cell = hover.head ?? view.shown;
  const whose = cell === null ? "Mean of all heads" : headName(cell);
  const signed = view.which === "difference";
  if (hover.key !== null && values) return `${whose}: ${named(query())} gives ${named(hover.key)} ${shareOf(values[hover.key], signed)}.`;
  const own = (panel.height * panel.shown) / panel.width;
  const thin = Math.abs(panel.high - own) > 1 ? `The picture has ${panel.width} × ${panel.height} pixels, and is shown stretched. ` : "";
  const what = values ? `${whose}: ${named(query())} gives the picture ${shareOf(total(values, panel.keys), signed)}. ` : "";
  return `${thin}${what}Drag to choose a region, click a patch to look from it.`;
}

function shareOf(value, signed) {
  if (!signed) return `${number(value)} of its attention`;
  return `${number(Math.abs(value))} ${value < 0 ? "less" : "more"} of its attention than in the clean run`;
}
