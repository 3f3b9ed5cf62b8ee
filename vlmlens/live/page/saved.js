// A saved sweep or circuit: its map, and the cell whose run is the edited answer.

import { act } from "./actions.js";
import { byId, change, view, watch } from "./store.js";
import { colours } from "./maps.js";
import { press } from "./fields.js";

const BELOW = 20;
const WIDEST = 52; // pixels of a cell at most
const parts = { map: byId("saved-grid"), left: 34, cell: 20 };
const bar = scaleBar();
const over = { head: null };
let map = null;
let at = null; // the cell that keys or the mouse chose last
let asking = false;

export function startSaved() {
  byId("saved-scale").append(bar.node);
  byId("saved-tools").append(
    press("Take the cell back", () => act.cell(null)),
    press("Back to the map's question and picture", act.home),
  );
  watch(() => {
    if (!view.state) return;
    byId("saved").hidden = !view.state.mapped;
    if (!view.state.mapped) return;
    if (map) draw();
    else fetchMap();
  });
}

async function fetchMap() {
  if (asking || !view.online) return;
  asking = true;
  const found = await act.quietly("map", {});
  asking = false;
  if (!found) return;
  map = found.map;
  wire();
  change();
}

// The shared pointing; a click runs the cell, and so does Enter. Keys alone only move.
function wire() {
  const moved = { get head() { return at; } };
  const does = {
    state: moved,
    hover: over,
    wish: change,
    choose: ({ head }) => {
      at = head ?? at;
      change();
      show();
    },
  };
  mapEvents(parts, map.rows.length, map.columns.length, does);
  parts.map.addEventListener("click", () => over.head !== null && run(over.head));
  parts.map.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    run(at ?? 0);
  });
}

function place(cell) {
  return [Math.floor(cell / map.columns.length), cell % map.columns.length];
}

function run(cell) {
  const [row, column] = place(cell);
  at = cell;
  if (map.there[row][column]) act.cell([row, column]);
  else change();
}

// The cell under the keys stays in sight where the map is wider than its card.
function show() {
  const box = byId("saved-box");
  const x = parts.left + place(at)[1] * parts.cell;
  if (x < box.scrollLeft + parts.left) box.scrollLeft = x - parts.left;
  else if (x + parts.cell > box.scrollLeft + box.clientWidth) box.scrollLeft = x + parts.cell - box.clientWidth;
}

function draw() {
  const [R, C] = [map.rows.length, map.columns.length];
  const flat = map.values.flat().map((value) => value ?? NaN);
  const finite = flat.filter(Number.isFinite);
  const most = finite.length ? largest(finite, finite.keys()) : 0;
  parts.left = Math.min(120, 14 + 7 * Math.max(2, ...map.rows.map((name) => name.length)));
  const room = byId("saved").clientWidth - 34;
  parts.cell = Math.max(13, Math.min(WIDEST, Math.floor((room - parts.left - 4) / C)));
  const { cell, left } = parts;
  const upright = sized(parts.map, 1, 1);
  upright.font = `11px ${colours().font}`;
  const wide = map.columns.map((name) => upright.measureText(short(name)).width);
  const turned = map.kind === "path" && Math.max(...wide) > cell - 2;
  const below = turned ? Math.ceil(Math.max(...wide)) + 10 : BELOW;
  const pen = sized(parts.map, left + C * cell + 4, R * cell + below + 4);
  Object.assign(parts.map.dataset, { cell, left });
  const tones = colours();
  const corner = (one) => [left + (one % C) * cell + 1, (R - 1 - Math.floor(one / C)) * cell + 1];
  const side = cell - (cell > 14 ? 3 : 1);
  flat.forEach((value, one) => {
    const [x, y] = corner(one);
    const [row, column] = place(one);
    if (!map.there[row][column]) return;
    pen.fillStyle = Number.isFinite(value) ? css(tint(value, most, true)) : tones.empty;
    pen.fillRect(x, y, side, side);
    if (!Number.isFinite(value)) {
      pen.strokeStyle = tones.muted;
      pen.lineWidth = 1;
      pen.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
    }
  });
  names(pen, { R, C, left, cell, tones, turned });
  const box = (one, colour, width) => {
    const [x, y] = corner(one);
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(x, y, side, side);
  };
  const { cell: chosen, home } = view.state;
  if (chosen) box(chosen.at[0] * C + chosen.at[1], "#ff2e88", 3);
  const cursor = over.head ?? at;
  if (cursor !== null) box(cursor, tones.ink, 1.5);
  byId("saved-title").textContent = map.title;
  bar.node.hidden = !finite.length;
  bar.show(most, true, map.units);
  byId("saved-of").textContent = "Each cell is one run: click it, or choose it with the arrows and press Enter, and the edited answer is that run's.";
  byId("saved-readout").textContent = readout(cursor, flat);
  byId("saved-ran").textContent = chosen ? ran(chosen) : home ? "" : "The page now asks something else than the map was made of.";
  byId("saved-ran").classList.toggle("differs", chosen?.same === false);
  const [back, away] = byId("saved-tools").children;
  back.disabled = !chosen;
  away.hidden = home;
  parts.map.setAttribute("aria-label", `saved map of ${R} rows and ${C} columns: arrows move, Enter runs the cell`);
}

// Of a place's name the part that differs: a token, a number.
function short(name) {
  return map.kind === "path" ? name : name.split(" ").at(-1);
}

function names(pen, { R, C, left, cell, tones, turned }) {
  pen.font = `11px ${tones.font}`;
  pen.fillStyle = tones.muted;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const row of labelled(R, cell)) pen.fillText(map.rows[row], left - 6, (R - 0.5 - row) * cell, left - 8);
  const own = map.columns.map(short);
  if (turned) {
    for (const column of labelled(C, 26 * Math.ceil(cell / 13))) {
      pen.save();
      pen.translate(left + (column + 0.5) * cell, R * cell + 5);
      pen.rotate(-Math.PI / 2);
      pen.fillText(own[column], 0, 0);
      pen.restore();
    }
    return;
  }
  pen.textAlign = "center";
  pen.textBaseline = "top";
  const fits = own.every((name) => pen.measureText(name).width < cell - 2);
  for (const column of fits ? own.keys() : labelled(C, cell)) {
    pen.fillText(fits ? own[column] : column, left + (column + 0.5) * cell, R * cell + 5);
  }
}

function title(cell) {
  const [row, column] = place(cell);
  return map.kind === "path" ? `${map.rows[row]} → ${map.columns[column]}` : [map.rows[row] && `layer ${map.rows[row]}`, map.columns[column]].filter(Boolean).join(", ");
}

function readout(cell, flat) {
  if (cell === null) return "";
  const [row, column] = place(cell);
  if (!map.there[row][column]) return `${title(cell)}: no such cell`;
  return Number.isFinite(flat[cell]) ? `${title(cell)}: ${number(flat[cell])}` : `${title(cell)}: no value is saved`;
}

function ran({ label, score, value, same, estimate }) {
  const mine = `${label}: ${number(score)} in this run`;
  if (value === undefined) return `${mine}.`;
  if (estimate) return `${mine}; the saved value, ${number(value)}, is an estimate from gradients.`;
  if (same) return `${mine}, as in the table.`;
  return `${mine}, and ${number(value)} in the table: the weights, their precision or a library are others than then.`;
}
