// The page: its elements, and nothing that changes. Text from data only ever becomes textContent.

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

// The page without any numbers in it; `act` says what its buttons do.
function skeleton(root, meta, panels, words, act) {
  const [L, H] = [meta.layers.length, meta.heads.length];
  const head = make("div", "vx-head");
  const titles = make("div", "vx-titles");
  const title = make("h2", "vx-title", meta.title);
  const answer = make("p", "vx-answer");
  titles.append(title, answer);
  const tools = make("div", "vx-tools");
  const runs = make("div", "vx-runs");
  const tabs = meta.runs.map((run, at) => button(run.name, () => act.run(at)));
  if (meta.runs.length > 1) {
    tabs.push(button(`${meta.runs[1].name} − ${meta.runs[0].name}`, () => act.run("difference")));
    runs.setAttribute("role", "group");
    runs.setAttribute("aria-label", "run");
    runs.append(...tabs);
  }
  const mean = button("mean of all heads", () => act.mean());
  const shared = button("one scale for all heads", () => act.share());
  const clear = button("clear", () => act.clear());
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
  const note = make("p", "vx-note", `One sample: this shows where heads read, not what the answer depends on. ${weightNote(meta)}`);
  root.append(head, guide, readout, body, note);
  return { answer, tabs, mean, shared, board, imageBar, wordBar, mapBar, list, map, mapTitle, top, readout };
}

function weightNote(meta) {
  const Q = meta.queries.length;
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

function loaded(picture) {
  return new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error("a picture of the explorer does not open"));
    image.src = picture.source;
  });
}
