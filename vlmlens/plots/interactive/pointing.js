// Mouse and keys over pictures and over the map of heads.

function panelEvents(panel, does) {
  const { state, hover, wish, choose, lock, point } = does;
  const { canvas } = panel;
  const rect = (at) => panel.rects[at];
  panel.cursor = null;
  const under = (event) => {
    const frame = canvas.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * panel.width;
    const y = ((event.clientY - frame.top) / frame.height) * panel.height;
    const at = panel.keys.findIndex((_, i) => x >= rect(i)[0] && x < rect(i)[2] && y >= rect(i)[1] && y < rect(i)[3]);
    return { key: at < 0 ? null : panel.keys[at], x, y };
  };
  const across = (a, b) => {
    const [l, r] = [Math.min(a.x, b.x), Math.max(a.x, b.x)];
    const [t, d] = [Math.min(a.y, b.y), Math.max(a.y, b.y)];
    return panel.keys.filter((_, i) => rect(i)[0] < r && rect(i)[2] > l && rect(i)[1] < d && rect(i)[3] > t);
  };
  let from = null;
  let dragged = false;
  canvas.addEventListener("pointerdown", (event) => {
    from = { ...under(event), clientX: event.clientX, clientY: event.clientY };
    dragged = false;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const here = under(event);
    panel.cursor = here.key;
    hover.key = here.key;
    if (from && Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) > 4) {
      dragged = true;
      state.region = new Set(across(from, here));
    }
    wish();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!from) return; // what was pressed elsewhere and let go here
    const here = under(event);
    if (dragged) choose({ region: state.region });
    else if (here.key !== null) lock(here.key);
    from = null;
  });
  canvas.addEventListener("pointerleave", () => {
    panel.cursor = null;
    point(null);
  });
  canvas.addEventListener("focus", () => {
    if (canvas.matches(":focus-visible")) moveTo(panel, panel.cursor ?? panel.keys[0], point);
  });
  canvas.addEventListener("blur", () => {
    panel.cursor = panel.anchor = null;
    point(null);
  });
  canvas.addEventListener("keydown", (event) => {
    const at = panel.cursor ?? panel.keys[0];
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (event.key in steps) {
      const next = beside(panel, at, ...steps[event.key]);
      if (event.shiftKey) {
        panel.anchor ??= at;
        const [a, b] = [panel.anchor, next].map((key) => rect(panel.keys.indexOf(key)));
        const middle = (r) => ({ x: (r[0] + r[2]) / 2, y: (r[1] + r[3]) / 2 });
        choose({ region: new Set(across(middle(a), middle(b))) });
      } else panel.anchor = null;
      moveTo(panel, next, point);
    } else if (event.key === "Enter") lock(at);
    else if (event.key === " ") {
      const region = new Set(state.region);
      if (!region.delete(at)) region.add(at);
      choose({ region });
    } else return;
    event.preventDefault();
  });
}

// The cursor of the keyboard, which points as the mouse does.
function moveTo(panel, key, point) {
  panel.cursor = key;
  point(key);
}

// The cell whose middle is nearest to one step away; at the border, the cell itself.
function beside(panel, key, right, down) {
  const [l, t, r, b] = panel.rects[panel.keys.indexOf(key)];
  const [x, y] = [(l + r) / 2 + right * (r - l), (t + b) / 2 + down * (b - t)];
  const at = panel.rects.findIndex((q) => x >= q[0] && x < q[2] && y >= q[1] && y < q[3]);
  return at < 0 ? key : panel.keys[at];
}

function mapEvents(parts, L, H, does) {
  const { state, hover, wish, choose } = does;
  const { map } = parts;
  const under = (event) => {
    const frame = map.getBoundingClientRect();
    const head = Math.floor((event.clientX - frame.left - parts.left) / parts.cell);
    const layer = L - 1 - Math.floor((event.clientY - frame.top) / parts.cell);
    return head >= 0 && head < H && layer >= 0 && layer < L ? layer * H + head : null;
  };
  map.addEventListener("pointermove", (event) => {
    hover.head = under(event);
    wish();
  });
  map.addEventListener("pointerleave", () => {
    hover.head = null;
    wish();
  });
  map.addEventListener("click", (event) => {
    const head = under(event);
    if (head !== null) choose({ head: state.head === head ? null : head });
  });
  map.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: H, ArrowDown: -H };
    if (!(event.key in steps)) return;
    const at = state.head ?? 0;
    const row = Math.abs(steps[event.key]) === 1;
    const next = state.head === null ? 0 : at + steps[event.key];
    const inside = next >= 0 && next < L * H && (!row || Math.floor(next / H) === Math.floor(at / H));
    choose({ head: inside ? next : at });
    event.preventDefault();
  });
}
