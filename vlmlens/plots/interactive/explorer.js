// The explorer: what is looked at, and everything that follows from it. One element, no network.

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
  const several = { images: differ(meta.image), tiles: differ(meta.tile), turns: Math.max(...meta.turn) > 0 };
  const start = prompt.at(-1) ?? asking.at(-1) ?? null;
  const pictures = await Promise.all(meta.runs.map((run) => Promise.all(run.pictures.map(loaded))));

  const state = { run: 0, head: null, locked: start, region: new Set(), shared: false };
  const hover = { key: null, head: null };
  let since = null; // when the oldest unpainted wish came in
  let waiting = false;

  root.classList.add("vx");
  root.replaceChildren();
  const parts = skeleton(root, meta, panels, words, {
    run: (run) => choose({ run }),
    mean: () => choose({ head: null }),
    share: () => choose({ shared: !state.shared }),
    clear: () => choose({ locked: null, region: new Set() }),
  });
  const tokens = strip();
  const does = { state, hover, wish, choose, lock, point };
  mapEvents(parts, L, H, does);
  for (const panel of panels) panelEvents(panel, does);
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
    const area = state.region.size ? [...state.region] : readable(key);
    if (!patch && reads) {
      found.values = weights.row(state.run, query, head);
      found.map = weights.map(state.run, [query], area);
      found.mapOf = state.region.size
        ? `attention of ${named(key)} to the chosen ${counted(state.region.size)}`
        : `attention of ${named(key)} to ${toWhat()}`;
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

  // What a map of heads adds up: the image; of a text alone its words, but for the first and itself.
  function readable(key) {
    return patches.length ? patches : words.slice(1).filter((word) => word !== key);
  }

  function toWhat() {
    return patches.length ? "the image" : "other words than the first";
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
      fitted(panel, shown);
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
      const spoken = several.turns && meta.turn[key] >= 0 ? ` of turn ${meta.turn[key]}` : "";
      node.title = `${JSON.stringify(run.tokens[key])}, position ${meta.keys[key]}, ${meta.roles[key]}${spoken}${view.values ? `: ${number(value)}` : ""}`;
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
    return `${lead}${capital(named(view.key))} reads ${toWhat()}: ${change}${number(total(view.values, readable(view.key)))}.${area}`;
  }

  function capital(text) {
    return text[0].toUpperCase() + text.slice(1);
  }
}
