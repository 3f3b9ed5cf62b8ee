// Painting the map of heads: a small picture of attention in every cell, or one colour for what a head carries.

import { patches, view } from "./store.js";
import { fitting } from "./maps.js";

const BELOW = 20;

// A thousand heads' cells are painted once and laid under what moves with the mouse.
const ground = document.createElement("canvas");
let painted = null;

// Returns the value at the end of the scale.
export function paintGrid(parts, { layers, heads, values, effect, signed, colours, cursor, marks }) {
  const { map, left, cell } = parts;
  const [wide, high] = [left + heads * cell + 4, layers * cell + BELOW + 4];
  const now = [view.version, effect ? view.effect : view.maps, signed, view.own, cell, colours];
  if (!painted || now.some((part, at) => part !== painted.now[at])) {
    painted = { now, most: paintCells(sized(ground, wide, high), { layers, heads, left, cell, values, effect, signed, colours }) };
  }
  const pen = sized(map, wide, high);
  pen.drawImage(ground, 0, 0, wide, high);
  for (const [at, how] of marks) struck(pen, corner(at, { layers, heads, left, cell }), cell, how);
  for (const at of view.heads) outline(pen, corner(at, { layers, heads, left, cell }), cell, "#ff2e88", 3);
  if (cursor !== null) {
    const place = corner(cursor, { layers, heads, left, cell });
    outline(pen, place, cell, "#ffffff", 5); // one of the two is seen, whatever is below
    outline(pen, place, cell, view.heads.has(cursor) ? "#ff2e88" : "#10161d", 2);
  }
  return painted.most;
}

function paintCells(pen, { layers, heads, left, cell, values, effect, signed, colours }) {
  const boxes = patches().map((key) => [key, view.state.tokens[key].box]);
  const keys = boxes.map(([key]) => key);
  const finite = values.filter(Number.isFinite);
  const most = effect ? largest(finite, finite.keys()) : highest(keys, signed);
  const { width, height } = view.state.sample;
  const least = signed ? 1e-6 : 1 / view.state.tokens.length; // less than an even share is no pattern
  for (let at = 0; at < layers * heads; at++) {
    const [x, y] = corner(at, { layers, heads, left, cell });
    const side = cell - (cell > 14 ? 3 : 1);
    pen.fillStyle = colours.empty;
    pen.fillRect(x, y, side, side);
    if (effect) whole(pen, x, y, side, values[at], most);
    else {
      const row = fitting(view.maps[Math.floor(at / heads)]?.[at % heads]);
      if (row) small(pen, { x, y, side, row, boxes, width, height, signed, most: view.own ? Math.max(least, largest(row, keys)) : most });
    }
  }
  labels(pen, { layers, heads, left, cell, colours });
  return view.own && !effect ? 1 : most;
}

function corner(at, { layers, heads, left, cell }) {
  return [left + (at % heads) * cell + 1, (layers - 1 - Math.floor(at / heads)) * cell + 1];
}

function highest(keys, signed) {
  let most = signed ? 1e-6 : 1 / view.state.tokens.length;
  for (const row of view.maps.filter(Boolean).flat()) if (fitting(row)) most = Math.max(most, largest(row, keys));
  return most;
}

function whole(pen, x, y, side, value, most) {
  const rgb = tint(value, most, true);
  pen.fillStyle = css(rgb);
  pen.fillRect(x, y, side, side);
  if (side < 34) return;
  pen.fillStyle = ink(rgb);
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const text = value.toFixed(Math.abs(value) < 9.95 ? 1 : 0).replace(/^-(?!0\.0$)/, "−").replace("-", "");
  pen.fillText(text, x + side / 2, y + side / 2);
}

// The patches at their places, the picture's shape fitted into the cell.
function small(pen, { x, y, side, row, boxes, width, height, signed, most }) {
  const scale = side / Math.max(width, height);
  const [left, top] = [x + (side - scale * width) / 2, y + (side - scale * height) / 2];
  pen.fillStyle = css(tint(0, most, signed));
  pen.fillRect(left, top, scale * width, scale * height);
  for (const [key, box] of boxes) {
    if (!box || Math.abs(row[key]) < most / 250) continue; // no colour apart from that of 0
    const [l, t] = [Math.round(left + scale * box[0]), Math.round(top + scale * box[1])];
    const [r, b] = [Math.round(left + scale * box[2]), Math.round(top + scale * box[3])];
    pen.fillStyle = css(tint(row[key], most, signed));
    pen.fillRect(l, t, r - l, b - t);
  }
}

function labels(pen, { layers, heads, left, cell, colours }) {
  pen.font = `11px ${colours.font}`;
  pen.fillStyle = colours.muted;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const layer of labelled(layers, cell)) pen.fillText(layer, left - 6, (layers - 0.5 - layer) * cell);
  pen.textAlign = "center";
  pen.textBaseline = "top";
  for (const head of labelled(heads, cell)) pen.fillText(head, left + (head + 0.5) * cell, layers * cell + 5);
}

// A head that is out has a cross in its corner; one that is changed otherwise, one stroke.
function struck(pen, [x, y], cell, how) {
  const side = cell - (cell > 14 ? 3 : 1);
  const size = Math.min(side, Math.max(14, side / 4)); // in the corner, so that a number can be read
  const [l, t, r, b] = [x + side - size + 2, y + 2, x + side - 3, y + size - 3];
  for (const [colour, width] of [["#ffffff", 6], ["#d6006f", 3]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(l, t);
    pen.lineTo(r, b);
    if (how === "out") {
      pen.moveTo(r, t);
      pen.lineTo(l, b);
    }
    pen.stroke();
  }
}

function outline(pen, [x, y], cell, colour, width) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.strokeRect(x, y, cell - 3, cell - 3);
}
