// Colours and canvases. Text from data only ever becomes textContent or a canvas's pixels.

const INFERNO = ["#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4"];
const BALANCE = ["#0d4a8f", "#2f7fc0", "#86b9dc", "#cfdfe8", "#f0eeec", "#f0cfc2", "#dc8a6d", "#c04b3b", "#8b1620"];

function channels(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

function ramp(stops) {
  const rgb = stops.map(channels);
  return Array.from({ length: 256 }, (_, step) => {
    const place = (step / 255) * (rgb.length - 1);
    const low = Math.min(Math.floor(place), rgb.length - 2);
    return rgb[low].map((part, i) => Math.round(part + (rgb[low + 1][i] - part) * (place - low)));
  });
}

const SCALES = { one: ramp(INFERNO), two: ramp(BALANCE) };

// A value's colour: from 0 to most in one direction, or from -most to most around a neutral middle.
function tint(value, most, signed) {
  if (!(most > 0)) return (signed ? SCALES.two[128] : SCALES.one[0]);
  const share = signed ? 0.5 + (0.5 * value) / most : value / most;
  return (signed ? SCALES.two : SCALES.one)[Math.round(255 * Math.min(1, Math.max(0, share)))];
}

function css(rgb, alpha = 1) {
  return `rgba(${rgb[0]},${rgb[1]},${rgb[2]},${alpha})`;
}

// A colour laid over another.
function over(rgb, ground, alpha) {
  return rgb.map((part, i) => Math.round(alpha * part + (1 - alpha) * ground[i]));
}

// Dark text on light colours, light text on dark ones.
function ink(rgb) {
  return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 140 ? "#10161d" : "#ffffff";
}

function sized(canvas, width, height) {
  const dense = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * dense), Math.round(height * dense)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

// Sides of a panel's canvas in this room: those of its picture, but a strip of a few pixels is
// made wider, since nobody could point at it, and none is higher than a screen.
function fitted(panel, room) {
  panel.shown = Math.max(Math.min(160, room), Math.min(room, (560 * panel.width) / panel.height));
  panel.high = Math.min(1000, Math.max(80, (panel.height * panel.shown) / panel.width));
}

// A picture under its cells. The veil is thinner where there is more to see; `least` is its
// thickness where nothing is read.
function paintPanel(panel, view) {
  const height = panel.high;
  const scale = [panel.shown / panel.width, height / panel.height];
  const placed = (rect) => rect.map((edge, side) => edge * scale[side % 2]);
  const pen = sized(panel.canvas, panel.shown, height);
  pen.fillStyle = view.colours.empty;
  pen.fillRect(0, 0, panel.shown, height);
  if (view.picture) pen.drawImage(view.picture, 0, 0, panel.shown, height);
  panel.keys.forEach((key, at) => {
    const [left, top, right, bottom] = placed(panel.rects[at]);
    if (right <= left || bottom <= top) return; // a cell of padding lies nowhere on the picture
    if (view.values) {
      const value = view.values[key];
      const share = view.most > 0 ? Math.min(1, Math.abs(value) / view.most) : 0;
      const least = view.least ?? 0.5;
      const alpha = view.signed ? 0.15 + 0.75 * share : least + (0.75 - least) * share;
      pen.fillStyle = css(tint(value, view.most, view.signed), alpha);
      pen.fillRect(left, top, right - left, bottom - top);
    }
    pen.strokeStyle = view.colours.grid;
    pen.lineWidth = 0.5;
    pen.strokeRect(left, top, right - left, bottom - top);
  });
  const outline = (keys, colour, width) => {
    panel.keys.forEach((key, at) => {
      if (!keys.has(key)) return;
      const [left, top, right, bottom] = placed(panel.rects[at]);
      pen.lineWidth = width;
      pen.strokeStyle = colour;
      pen.strokeRect(left + width / 2, top + width / 2, right - left - width, bottom - top - width);
    });
  };
  edges(pen, panel, view.region, scale);
  if (view.locked !== null) outline(new Set([view.locked]), "#ff2e88", 3);
  if (view.cursor !== null) {
    outline(new Set([view.cursor]), "#10161d", 4); // seen on white and on black
    outline(new Set([view.cursor]), "#ffffff", 2);
  }
}

// The outer border of a chosen area: edges that only one of its cells has.
function edges(pen, panel, region, scale) {
  if (!region.size) return;
  const count = new Map();
  panel.keys.forEach((key, at) => {
    if (!region.has(key)) return;
    const [l, t, r, b] = panel.rects[at].map((edge) => Math.round(edge * 16) / 16);
    for (const line of [[l, t, r, t], [l, b, r, b], [l, t, l, b], [r, t, r, b]]) {
      const name = line.join();
      count.set(name, { line, times: (count.get(name)?.times ?? 0) + 1 });
    }
  });
  for (const [colour, width] of [["#10161d", 5], ["#ffffff", 2.5]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.lineCap = "square";
    pen.beginPath();
    for (const { line, times } of count.values()) {
      if (times !== 1) continue;
      const inside = (edge, most, by) => Math.min(most * by - 2, Math.max(2, edge * by));
      const [l, r] = [line[0], line[2]].map((edge) => inside(edge, panel.width, scale[0]));
      const [t, b] = [line[1], line[3]].map((edge) => inside(edge, panel.height, scale[1]));
      pen.moveTo(l, t);
      pen.lineTo(r, b);
    }
    pen.stroke();
  }
}

// One cell a head; layer 0, nearest the input, at the bottom, as in plots.heads.
function paintMap(canvas, view) {
  const { L, H, cell, left, below } = view;
  const pen = sized(canvas, left + H * cell + 2, L * cell + below + 2);
  pen.font = `11px ${view.colours.font}`;
  for (let layer = 0; layer < L; layer++) {
    for (let head = 0; head < H; head++) {
      const value = view.values ? view.values[layer * H + head] : NaN;
      pen.fillStyle = Number.isNaN(value) ? view.colours.empty : css(tint(value, view.most, view.signed));
      const gap = cell > 14 ? 2 : 1;
      pen.fillRect(left + head * cell, (L - 1 - layer) * cell + 1, cell - gap, cell - gap);
    }
  }
  pen.fillStyle = view.colours.muted;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const layer of labelled(L, cell)) {
    pen.fillText(view.layers[layer], left - 6, (L - 0.5 - layer) * cell);
  }
  pen.textAlign = "center";
  pen.textBaseline = "top";
  for (const head of labelled(H, cell)) {
    pen.fillText(view.heads[head], left + (head + 0.5) * cell, L * cell + 5);
  }
  const box = (at, colour, width) => {
    const [layer, head] = [Math.floor(at / H), at % H];
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(left + head * cell, (L - 1 - layer) * cell + 1, cell - 1, cell - 1);
  };
  if (view.head !== null) {
    box(view.head, "#10161d", 4);
    box(view.head, "#ff2e88", 2.5);
  }
  if (view.cursor !== null) box(view.cursor, view.colours.ink, 1.5);
}

// Which of n places get a label: all where there is room, else evenly some, and the last.
function labelled(n, cell) {
  const step = Math.ceil(n / Math.max(2, Math.floor((n * cell) / 26)));
  const places = [];
  for (let at = 0; at < n - step; at += step) places.push(at);
  return [...places, n - 1];
}

function paintBar(canvas, signed, width) {
  const pen = sized(canvas, width, 8);
  for (let x = 0; x < width; x++) {
    pen.fillStyle = css((signed ? SCALES.two : SCALES.one)[Math.round((255 * x) / (width - 1))]);
    pen.fillRect(x, 0, 2, 8); // wider than its step: no seams between pixels
  }
}
