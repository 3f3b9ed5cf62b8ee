// What is looked at, and who is told when it changes. The server's state is never changed here.

export const view = {
  state: null, // as the server last sent it
  version: 0, // one more with every state
  online: false,
  focus: null, // position of the word or patch that is looked from; null: where the answer begins
  region: new Set(), // positions of chosen patches
  aim: null, // what the arrow that is being drawn would hit
  heads: new Set(), // chosen cells of the map: layer * heads + head
  shown: null, // the head whose attention lies on the picture; null: the mean of all
  which: "clean", // or "edited", "difference", "effect"
  own: true, // every head with a scale of its own, so that each can be read
  mode: "region", // or "move": what dragging on the picture does
  veil: true, // whether attention lies on the picture
  draft: null, // the scene while a shape is being moved
  maps: [], // layer -> head -> key
  lens: null,
  lensEdited: false,
  asked: "", // question, picture and clean answer: what sweeps are of
  edited: "", // edits as well: what sweeps beside edits are of
  effect: null, // what knocking out each head changed, and what it is of
  layers: null, // what patching each layer changed, and what it is of
  span: [null, null], // layers of the next block, from and to
  work: null, // {id, progress, note}: what takes long
  error: "",
  code: "",
};

export const hover = { key: null, head: null };

const watchers = [];
let waiting = false;

export function watch(draw) {
  watchers.push(draw);
}

export function change(part = {}) {
  Object.assign(view, part);
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const draw of watchers) draw(view);
  });
}

export function query() {
  return view.focus ?? view.state.query;
}

export function patches() {
  return view.state.tokens.map((_, at) => at).filter((at) => view.state.tokens[at].grid);
}

// What an edit of a region is about: the chosen patches, or the whole picture.
export function chosen() {
  return view.region.size ? [...view.region].sort((a, b) => a - b) : patches();
}

export function named(at) {
  const token = view.state.tokens[at];
  return token.grid ? `patch (row ${token.grid[0]}, column ${token.grid[1]})` : `“${visible(token.text)}”`;
}

export function headName(cell) {
  const { heads } = view.state.model;
  return `L${Math.floor(cell / heads)} H${cell % heads}`;
}

// Heads that edits of the list change: a cell of the map -> "out" or "changed".
export function editedHeads() {
  const { heads, layers } = view.state.model;
  const found = new Map();
  for (const { edit } of view.state.edits) {
    if (edit.kind !== "heads") continue;
    const cells = new Set(edit.heads.map(([layer, head]) => layer * heads + head));
    if (edit.how === "only") {
      for (let cell = 0; cell < layers * heads; cell++) if (!cells.has(cell)) found.set(cell, "out");
    } else for (const cell of cells) found.set(cell, edit.how === "zero" ? "out" : "changed");
  }
  return found;
}

// A short name of a long text, which changes with it.
export function fingerprint(text) {
  let [a, b] = [0x811c9dc5, 0x01000193];
  for (let at = 0; at < text.length; at++) {
    a = Math.imul(a ^ text.charCodeAt(at), 0x01000193);
    b = Math.imul(b + text.charCodeAt(at), 0x85ebca6b) ^ (b >>> 13);
  }
  return `${text.length}-${a >>> 0}-${b >>> 0}`;
}

export function isStale(found) {
  return found !== null && found.of !== (found.edited ? view.edited : view.asked);
}

// What is looked from, and that it is where the answer begins.
export function lookedFrom() {
  return `${named(query())}${view.focus === null ? ", the last token," : ""}`;
}

export function byId(id) {
  return document.getElementById(id);
}
