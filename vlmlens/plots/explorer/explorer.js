// The explorer: what is looked at, and everything that follows from it. One element, no network.

const HELP = [
  ["Point", "at a word: what it reads, on the picture and in the words. At a patch: the words that read it, and the patches it reads."],
  ["Click", "to lock a word or a patch; click it again, or press Escape, to let go."],
  ["Drag", "over the picture to choose an area: the map and the list then show which heads look there."],
  ["Heads", "Point at a cell of the map to preview a head, click to keep it."],
  ["Keys", "Tab moves between words, picture and map, arrows move inside. Enter locks, Space adds a patch to the area, Shift + arrows draw an area, M takes the mean of all heads."],
];

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  // Or JupyterLab takes arrows and M for itself; it asks the very element that has the focus.
  node.dataset.lmSuppressShortcuts = "true";
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(text, act, name = "vx-button") {
  const node = make("button", name, text);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}

// Spaces and line ends are tokens too: give them something to point at.
function visible(token) {
  return token.replaceAll("\n", "⏎").replaceAll("\t", "⇥").trim() || (token === "" ? "∅" : "␣");
}

async function explore(root, meta, packed, hooks = {}) {
  const weights = weightsOf(meta, await inflate(packed));
  const { Q, L, H } = weights;
  const rowOf = new Map(meta.queries.map((key, at) => [key, at]));
  const panels = panelsOf(meta);
  const patches = panels.flatMap((panel) => panel.keys);
  const words = meta.keys.map((_, key) => key).filter((key) => meta.image[key] < 0);
  const asking = words.filter((key) => rowOf.has(key));
  const prompt = asking.filter((key) => meta.roles[key] !== "assistant");
  const differ = (values) => new Set(patches.map((key) => values[key])).size > 1;
  const several = { images: differ(meta.image), tiles: differ(meta.tile) };
  const start = prompt.at(-1) ?? asking.at(-1) ?? null;
  const pictures = await Promise.all(meta.runs.map((run) => Promise.all(run.pictures.map(loaded))));

  const state = { run: 0, head: null, locked: start, region: new Set(), shared: false };
  const hover = { key: null, head: null };
  let since = null; // when the oldest unpainted wish came in
  let waiting = false;

  root.classList.add("vx");
  root.replaceChildren();
  const parts = built();
  const tokens = strip();
  mapEvents();
  panels.forEach(panelEvents);
  const watch = new ResizeObserver(() => wish());
  watch.observe(root);
  document.addEventListener("keydown", shortcut);
  if (meta.start) restore(meta.start);
  paint();
  root.dataset.ready = "true";
  return { restore, selection, stop };

  function stop() {
    watch.disconnect();
    document.removeEventListener("keydown", shortcut);
  }

  // Keys are ours while somebody is here; a notebook's other cells keep theirs.
  function shortcut(event) {
    const here = hooks.whole || root.contains(document.activeElement) || root.matches(":hover");
    if (!here || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") release();
    if (event.key === "m" && (hooks.whole || root.contains(document.activeElement))) choose({ head: null });
  }

  // ---------------------------------------------------------------- what is looked at

  function focus() {
    return state.locked ?? hover.key;
  }

  // Everything on the page, as numbers: the picture's and words' values, the map, and what to say.
  function looked() {
    const key = focus();
    const head = hover.head ?? state.head;
    const signed = state.run === "difference";
    const found = { key, head, signed, values: null, map: null, said: "" };
    if (key === null) return found;
    const patch = meta.image[key] >= 0;
    const query = rowOf.get(key);
    const reads = query !== undefined;
    const area = state.region.size ? [...state.region] : patches;
    if (!patch && reads) {
      found.values = weights.row(state.run, query, head);
      found.map = weights.map(state.run, [query], area);
      found.mapOf = state.region.size
        ? `attention of ${named(key)} to the chosen ${counted(state.region.size)}`
        : `attention of ${named(key)} to the image`;
    } else {
      // Read by: words that come later, and for a patch also what it reads itself.
      const column = weights.column(state.run, key, head);
      found.values = new Float32Array(meta.keys.length);
      meta.queries.forEach((place, at) => (found.values[place] = column[at]));
      if (patch) {
        const own = reads ? weights.row(state.run, query, head) : new Float32Array(meta.keys.length);
        for (const place of patches) found.values[place] = own[place];
      }
      const readers = readersOf(key).map((word) => rowOf.get(word));
      found.map = readers.length ? weights.map(state.run, readers, [key]) : null;
      found.mapOf = `attention to ${named(key)}, mean over the ${readers.length} words that can read it`;
    }
    found.patch = patch;
    found.reads = reads;
    // No scale ends below even attention: what is next to nothing shall not glow.
    const even = found.signed ? 0 : 1 / (reads ? meta.sees[query] : key + 1);
    found.onImage = patches.length ? Math.max(even, largest(found.values, patches)) : 0;
    found.inWords = Math.max(even, largest(found.values, words));
    if (state.shared && reads) found.onImage = sharedPeak(query);
    return found;
  }

  // The words that see a position: later ones, and in some models earlier ones too.
  function readersOf(key) {
    return asking.filter((word) => word !== key && meta.sees[rowOf.get(word)] > key);
  }

  // The largest weight that any head gives to a patch: one scale for all heads.
  function sharedPeak(query) {
    let most = 0;
    for (let cell = 0; cell < L * H; cell++) {
      most = Math.max(most, largest(weights.row(state.run, query, cell), patches));
    }
    return most;
  }

  function choose(change) {
    Object.assign(state, change);
    wish();
    hooks.chosen?.(selection());
  }

  function release() {
    if (state.locked !== null) choose({ locked: null });
    else if (state.region.size) choose({ region: new Set() });
  }

  function lock(key) {
    choose({ locked: state.locked === key ? null : key });
  }

  function selection() {
    const key = state.locked;
    return {
      run: state.run === "difference" ? "difference" : meta.runs[state.run].name,
      layer: state.head === null ? null : Math.floor(state.head / H),
      head: state.head === null ? null : state.head % H,
      position: key,
      area: [...state.region].sort((a, b) => a - b),
    };
  }

  function restore(asked) {
    const run = meta.runs.findIndex((each) => each.name === asked.run);
    state.run = asked.run === "difference" ? "difference" : Math.max(0, run);
    state.head = asked.layer === null ? null : asked.layer * H + asked.head;
    state.locked = asked.position;
    state.region = new Set(asked.area);
    wish();
  }

  function named(key) {
    if (meta.image[key] < 0) return `“${visible(shownRun().tokens[key])}”`;
    const image = several.images ? `image ${meta.image[key]}, ` : "";
    const part = meta.kind[key] === "thumbnail" ? "thumbnail, " : `tile ${meta.tile[key]}, `;
    return `patch (${image}${several.tiles ? part : ""}row ${meta.row[key]}, column ${meta.column[key]})`;
  }

  function shownRun() {
    return meta.runs[state.run === "difference" ? 0 : state.run];
  }

  function headName(head) {
    return head === null ? "mean of all heads" : `layer ${meta.layers[Math.floor(head / H)]}, head ${meta.heads[head % H]}`;
  }

  function counted(size) {
    return size === 1 ? "patch" : `${size} patches`;
  }

  // ---------------------------------------------------------------- the page

  function built() {
    const head = make("div", "vx-head");
    const titles = make("div", "vx-titles");
    const title = make("h2", "vx-title", meta.title);
    const answer = make("p", "vx-answer");
    titles.append(title, answer);
    const tools = make("div", "vx-tools");
    const runs = make("div", "vx-runs");
    const tabs = meta.runs.map((run, at) => button(run.name, () => choose({ run: at })));
    if (meta.runs.length > 1) {
      tabs.push(button(`${meta.runs[1].name} − ${meta.runs[0].name}`, () => choose({ run: "difference" })));
      runs.setAttribute("role", "group");
      runs.setAttribute("aria-label", "run");
      runs.append(...tabs);
    }
    const mean = button("mean of all heads", () => choose({ head: null }));
    const shared = button("one scale for all heads", () => choose({ shared: !state.shared }));
    const clear = button("clear", () => choose({ locked: null, region: new Set() }));
    const help = button("?", () => (guide.hidden = !guide.hidden), "vx-button vx-round");
    help.setAttribute("aria-label", "how to use this");
    tools.append(runs, mean, shared, clear, help);
    head.append(titles, tools);

    const guide = make("dl", "vx-guide");
    guide.hidden = true;
    for (const [what, how] of HELP) guide.append(make("dt", "", what), make("dd", "", how));

    const body = make("div", "vx-body");
    const seen = make("div", "vx-seen");
    const board = make("div", "vx-board");
    for (const panel of panels) {
      panel.figure = make("figure", "vx-panel");
      panel.canvas = make("canvas");
      panel.canvas.tabIndex = 0;
      panel.canvas.setAttribute("role", "application");
      panel.canvas.setAttribute("aria-label", `image ${panel.image}, ${panel.keys.length} patches`);
      panel.figure.append(panel.canvas);
      if (panels.length > 1) {
        panel.figure.append(make("figcaption", "", panel.part === "image" ? `image ${panel.image}` : `image ${panel.image}, ${panel.part}`));
      }
      board.append(panel.figure);
    }
    const imageBar = scaleBar();
    seen.append(board, imageBar.node);

    const side = make("div", "vx-side");
    const list = make("div", "vx-strip");
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "tokens");
    const legend = make("p", "vx-legend");
    for (const role of new Set(words.map((key) => meta.roles[key]))) {
      const item = make("span", "vx-role", role);
      item.style.borderBottomColor = meta.colours[role] ?? "";
      legend.append(item);
    }
    const wordBar = scaleBar();
    const heads = make("div", "vx-heads");
    const left = make("div", "vx-mapbox");
    const mapTitle = make("p", "vx-caption");
    const map = make("canvas", "vx-map");
    map.tabIndex = 0;
    map.setAttribute("role", "application");
    map.setAttribute("aria-label", `map of ${L} layers and ${H} heads`);
    const mapBar = scaleBar();
    left.append(map, mapBar.node);
    const top = make("ol", "vx-top");
    heads.append(left, top);
    side.append(list, legend, wordBar.node, mapTitle, heads);
    body.append(seen, side);

    const readout = make("p", "vx-readout");
    readout.setAttribute("role", "status");
    const note = make("p", "vx-note", `One sample: this shows where heads read, not what the answer depends on. ${weightNote()}`);
    root.append(head, guide, readout, body, note);
    return { answer, tabs, mean, shared, board, imageBar, wordBar, mapBar, list, map, mapTitle, top, readout };
  }

  function weightNote() {
    const kept = Q === meta.keys.length ? "All rows are here" : `${Q} of ${meta.keys.length} rows are here`;
    return `${kept}; weights are rounded, to within 1 % of their row's largest.`;
  }

  function scaleBar() {
    const node = make("div", "vx-bar");
    const [low, canvas, high, what] = [make("span"), make("canvas"), make("span"), make("span", "vx-what")];
    canvas.setAttribute("aria-hidden", "true");
    node.append(low, canvas, high, what);
    return {
      node,
      show(most, signed, text) {
        low.textContent = signed ? number(-most) : "0";
        high.textContent = number(most);
        what.textContent = text;
        paintBar(canvas, signed, 110);
      },
    };
  }

  function strip() {
    const nodes = new Map();
    let image = -1;
    meta.keys.forEach((_, key) => {
      if (meta.image[key] >= 0) {
        if (meta.image[key] !== image) {
          image = meta.image[key];
          const size = meta.image.filter((each, at) => each === image && meta.row[at] >= 0).length;
          const chip = make("span", "vx-chip", `image ${image} · ${size} patches`);
          chip.dataset.image = String(image);
          parts.list.append(chip);
          nodes.set(`image ${image}`, chip);
        }
        return;
      }
      const node = make("span", "vx-token");
      node.setAttribute("role", "option");
      node.tabIndex = key === start ? 0 : -1;
      node.dataset.key = String(key);
      node.style.borderBottomColor = meta.colours[meta.roles[key]] ?? "";
      if (!rowOf.has(key)) node.classList.add("vx-mute");
      node.addEventListener("pointerenter", () => point(key));
      node.addEventListener("pointerleave", () => point(null));
      node.addEventListener("focus", () => point(key));
      node.addEventListener("blur", () => point(null));
      node.addEventListener("click", () => lock(key));
      parts.list.append(node);
      nodes.set(key, node);
    });
    parts.list.addEventListener("keydown", (event) => {
      const at = words.indexOf(Number(event.target.dataset.key));
      const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: words.length - 1 };
      if (event.key in steps) {
        const next = words[Math.min(words.length - 1, Math.max(0, steps[event.key]))];
        nodes.get(words[at]).tabIndex = -1;
        nodes.get(next).tabIndex = 0;
        nodes.get(next).focus();
      } else if (event.key === "Enter" || event.key === " ") lock(words[at]);
      else return;
      event.preventDefault();
    });
    return nodes;
  }

  function point(key) {
    hover.key = key;
    wish();
  }

  // ---------------------------------------------------------------- pointing at pictures and heads

  function panelEvents(panel) {
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
      if (canvas.matches(":focus-visible")) move(panel, panel.cursor ?? panel.keys[0]);
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
        move(panel, next);
      } else if (event.key === "Enter") lock(at);
      else if (event.key === " ") {
        const region = new Set(state.region);
        if (!region.delete(at)) region.add(at);
        choose({ region });
      } else return;
      event.preventDefault();
    });
  }

  function move(panel, key) {
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

  function mapEvents() {
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

  // ---------------------------------------------------------------- painting

  function wish() {
    since ??= performance.now();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      paint();
    });
  }

  function paint() {
    const view = looked();
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const colours = { empty: colour("--empty"), grid: colour("--cell"), muted: colour("--muted"), ink: colour("--ink"), soft: channels(colour("--soft")), font: style.fontFamily };
    paintPanels(view, colours);
    paintWords(view, colours);
    paintHeads(view, colours);
    say(view);
    const selected = selection();
    root.dataset.selection = JSON.stringify(selected);
    if (since !== null) root.dataset.latency = (performance.now() - since).toFixed(1);
    since = null;
  }

  function paintPanels(view, colours) {
    const room = Math.max(200, parts.board.clientWidth);
    const shown = panels.length > 1 ? Math.max(150, Math.min(300, Math.floor(room / 2) - 8)) : room;
    const at = state.run === "difference" ? 0 : state.run;
    for (const panel of panels) {
      panel.shown = Math.min(shown, (560 * panel.width) / panel.height);
      paintPanel(panel, {
        colours,
        picture: panel.boxed ? pictures[at][panel.image] : null,
        values: view.values,
        most: view.onImage,
        signed: view.signed,
        region: state.region,
        locked: state.locked,
        cursor: panel.cursor,
      });
    }
    const what = !view.values ? "" : view.patch ? (view.reads ? "patches it reads" : "its row was not kept") : view.reads ? "on the image" : "patches that read it";
    parts.imageBar.node.hidden = !patches.length;
    parts.imageBar.show(view.onImage ?? 0, view.signed, what);
  }

  function paintWords(view, colours) {
    const run = shownRun();
    for (const [key, node] of tokens) {
      if (typeof key === "string") continue;
      const value = view.values ? view.values[key] : 0;
      const share = view.inWords > 0 ? Math.abs(value) / view.inWords : 0;
      const strong = share > 0.02;
      const rgb = over(tint(value, view.inWords, view.signed), colours.soft, 0.3 + 0.7 * share);
      node.textContent = visible(run.tokens[key]);
      node.title = `${JSON.stringify(run.tokens[key])}, position ${meta.keys[key]}, ${meta.roles[key]}${view.values ? `: ${number(value)}` : ""}`;
      node.style.background = strong ? css(rgb) : "";
      node.style.color = strong ? ink(rgb) : "";
      node.setAttribute("aria-selected", String(state.locked === key));
      node.classList.toggle("vx-focus", focus() === key);
    }
    const what = !view.values ? "" : view.patch || !view.reads ? "words that read it" : "words it reads";
    parts.wordBar.show(view.inWords ?? 0, view.signed, what);
  }

  function paintHeads(view, colours) {
    const room = Math.max(220, Math.min(420, parts.map.parentElement.parentElement.clientWidth - 225));
    parts.left = 30;
    parts.cell = Math.max(8, Math.min(36, Math.floor((room - parts.left) / H), Math.floor(420 / L)));
    const most = view.map ? largest(view.map, view.map.keys()) : 0;
    paintMap(parts.map, {
      L, H, cell: parts.cell, left: parts.left, below: 20, values: view.map, most, signed: view.signed,
      head: state.head, cursor: hover.head, layers: meta.layers, heads: meta.heads, colours,
    });
    parts.mapTitle.textContent = view.map ? `Heads (layer up, head across): ${view.mapOf}` : "Heads (layer up, head across): point at a word or a patch";
    parts.mapBar.show(most, view.signed, "");
    paintTop(view, most);
  }

  function paintTop(view, most) {
    const values = view.map ?? new Float32Array(0);
    const order = [...values.keys()].sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
    const rows = order.slice(0, 8).map((cell) => {
      const item = make("li");
      const pick = button("", () => choose({ head: state.head === cell ? null : cell }), "vx-pick");
      pick.dataset.head = String(cell);
      pick.setAttribute("aria-pressed", String(state.head === cell));
      const name = make("span", "vx-name", `L${meta.layers[Math.floor(cell / H)]} H${meta.heads[cell % H]}`);
      const bar = make("span", "vx-length");
      bar.style.width = `${most > 0 ? (60 * Math.abs(values[cell])) / most : 0}px`;
      bar.style.background = css(tint(values[cell], most, view.signed));
      const track = make("span", "vx-track");
      track.append(bar);
      pick.append(name, track, make("span", "vx-value", number(values[cell])));
      item.append(pick);
      return item;
    });
    parts.top.replaceChildren(...rows);
  }

  function say(view) {
    const run = shownRun();
    parts.answer.textContent = run.answer ? `says: ${run.answer}` : "";
    parts.tabs.forEach((tab, at) => {
      const own = at === meta.runs.length ? "difference" : at;
      tab.setAttribute("aria-pressed", String(own === state.run));
    });
    parts.mean.setAttribute("aria-pressed", String(state.head === null));
    parts.shared.setAttribute("aria-pressed", String(state.shared));
    parts.readout.textContent = sentence(view);
  }

  function sentence(view) {
    if (view.key === null) return "Point at a word or a patch.";
    const lead = `${capital(headName(view.head))}. `;
    const change = view.signed ? "change of " : "";
    const other = state.locked !== null && hover.key !== null && hover.key !== state.locked ? hover.key : null;
    if (other !== null) {
      const verb = view.reads && (!view.patch || meta.image[other] >= 0) ? ["reads", state.locked, other] : ["reads", other, state.locked];
      return `${lead}${capital(named(verb[1]))} ${verb[0]} ${named(verb[2])}: ${change}${number(view.values[other])}.`;
    }
    if (view.patch || !view.reads) {
      const readers = readersOf(view.key);
      if (!readers.length) return `${lead}No word here can read ${named(view.key)}.`;
      const mean = total(view.values, readers) / readers.length;
      return `${lead}${capital(named(view.key))} is read by the words that can: ${change}${number(mean)} on average.`;
    }
    const size = state.region.size;
    const seen = meta.sees[rowOf.get(view.key)];
    const even = view.signed ? "" : `; even attention to all ${seen} tokens that it sees would give ${number(size / seen)}`;
    const area = size ? ` To the chosen ${counted(size)}: ${change}${number(total(view.values, state.region))}${even}.` : "";
    return `${lead}${capital(named(view.key))} reads the image: ${change}${number(total(view.values, patches))}.${area}`;
  }

  function capital(text) {
    return text[0].toUpperCase() + text.slice(1);
  }
}

function loaded(picture) {
  return new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error("a picture of the explorer does not open"));
    image.src = picture.source;
  });
}

// In a notebook: anywidget calls this with the widget's model and an element of the page.
async function render({ model, el }) {
  const data = model.get("data");
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const root = make("div");
  el.append(root);
  themed(root);
  let ours = false;
  const view = await explore(root, JSON.parse(model.get("meta")), bytes, {
    chosen(selection) {
      ours = true;
      model.set("chosen", selection);
      model.save_changes();
      ours = false;
    },
  });
  const follow = () => {
    if (!ours && model.get("chosen")) view.restore(model.get("chosen"));
  };
  model.on("change:chosen", follow);
  if (!model.get("chosen")) {
    model.set("chosen", view.selection());
    model.save_changes();
  }
  return () => {
    view.stop();
    model.off("change:chosen", follow);
  };
}

// JupyterLab, VS Code and Colab say in their own ways that they are dark.
function themed(root) {
  const { body, documentElement } = document;
  const dark = body.dataset.jpThemeLight === "false" || body.classList.contains("vscode-dark") || documentElement.getAttribute("theme") === "dark";
  const light = body.dataset.jpThemeLight === "true" || body.classList.contains("vscode-light");
  if (dark || light) root.dataset.theme = dark ? "dark" : "light";
}

export default { render };
