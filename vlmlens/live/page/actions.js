// What a person can do here, each as one request; what comes back becomes the state.

import { change, fingerprint, view } from "./store.js";
import { connect, Gone } from "./socket.js";
import { keep, keepMap, kept, remember, replay } from "./again.js";

const token = new URLSearchParams(location.search).get("token") ?? "";
const SLOW = 350; // milliseconds until something counts as long
let line = null;

export function start() {
  const address = new URL("socket", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.search = new URLSearchParams({ token }).toString();
  line = connect(address.href, {
    online: () => attempt(opened),
    offline: () => change({ online: false, work: null }),
  });
}

// A server that forgot this session is told again what was done here.
async function opened() {
  const before = kept(token);
  const fresh = (await line.ask("open", before ? { session: before.session } : {})).state;
  if (before && before.session !== fresh.session && before.session !== fresh.origin) {
    const { state, lost } = await replay(before, fresh, (what, details) => line.ask(what, details), upload);
    take(state);
    if (lost.length) change({ error: `The server started anew and lost ${lost.join("; ")}` });
  } else take(fresh);
  const { layers, heads } = view.state.model;
  const fits = before?.effect?.values.length === layers && before.effect.values[0].length === heads;
  if (fits && !view.effect) showMap(before.effect, before.which);
  change({ online: true });
}

function take(state) {
  const before = view.state;
  const same = before && JSON.stringify(before.tokens) === JSON.stringify(state.tokens);
  const asked = fingerprint(JSON.stringify([state.model, state.sample.question, state.sample.picture, state.clean]));
  const edited = fingerprint(JSON.stringify([asked, state.edits.map(({ edit }) => edit)]));
  const places = same ? {} : { focus: null, region: new Set() };
  const which = state.edited || view.which === "effect" ? view.which : "clean";
  const lensEdited = view.lensEdited && Boolean(state.edited);
  change({ state, version: view.version + 1, which, lensEdited, draft: null, code: "", asked, edited, ...places });
  keep(token, state);
}

// Nothing thrown gets lost: it becomes the one line at the top.
async function attempt(act) {
  try {
    return await act();
  } catch (error) {
    if (!error.cancelled) change({ error: sentence(error.message) });
    if (!(error instanceof Error)) throw error;
    return null;
  }
}

function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : "Something went wrong, and nobody said what";
}

async function request(what, details = {}) {
  change({ error: "" });
  const began = performance.now();
  const tell = (progress, note) => change({ work: { id: asked.id, progress, note } });
  const asked = line.ask(what, details, ({ progress, note }) => {
    if (performance.now() - began > SLOW) tell(progress, note ?? "");
  });
  const late = setTimeout(() => view.work ?? tell(null, "working"), SLOW);
  try {
    return await asked;
  } finally {
    clearTimeout(late);
    if (view.work?.id === asked.id) change({ work: null });
  }
}

function changing(what, details) {
  return attempt(async () => {
    const answer = await request(what, details);
    take(answer.state);
    return answer.state;
  });
}

function sending(what, file) {
  return attempt(async () => {
    const { state } = await request(what, { upload: await upload(file) });
    remember(state.sample[what], file);
    take(state);
  });
}

async function upload(file) {
  const address = new URL("picture", location.href);
  address.search = new URLSearchParams({ token }).toString();
  const sent = await fetch(address, { method: "POST", body: file }).catch(() => {
    throw new Error("the picture cannot be sent: what was chosen is no file that can be read, or the server does not answer");
  });
  const answer = await sent.json().catch(() => ({ error: `the server refused the picture (${sent.status})` }));
  if (!sent.ok) throw new Error(answer.error ?? `the server refused the picture (${sent.status})`);
  return answer.upload;
}

// What the map of heads shows; a map of effects is kept for when the page is loaded anew.
export function showMap(effect, which) {
  change({ effect, which });
  keepMap(token, effect, which);
}

export const act = {
  question: (text) => changing("question", { text }),
  scene: (scene) => changing("picture", { scene }),
  elsewhere: (seed) => changing("picture", { elsewhere: seed }),
  picture: (file) => sending("picture", file),
  second: (file) => sending("second", file),
  secondScene: (scene) => changing("second", { scene }),
  noSecond: () => changing("second", {}),
  add: (edit) => changing("edit", { edit }),
  change: (number, edit) => changing("change", { number, edit }),
  remove: (number) => changing("remove", { number }),
  cell: (at) => changing("cell", { at }),
  home: () => changing("home"),
  undo: () => changing("undo"),
  redo: () => changing("redo"),
  clear: () => changing("clear"),
  cancel: () => view.work && attempt(() => line.ask("cancel", { of: view.work.id })),
  whole: (edited) => attempt(async () => (await request("say", { edited })).answer),
  code: (many = false) => attempt(async () => (await request("code", { many })).python),
  sweep: (details) => attempt(() => request("sweep", details)),
  // What the page asks for by itself: its failure on a line that broke is no news, nor is that of
  // a question about what has changed meanwhile, such as a word of the question before.
  quietly: async (what, details) => {
    const { version } = view;
    try {
      return await line.ask(what, details);
    } catch (error) {
      if (!(error instanceof Gone) && version === view.version) change({ error: sentence(error.message) });
      return null;
    }
  },
};
