// What this page would have to tell a server that knows nothing of it: kept for this tab.

let memory = null;
const files = new Map(); // what the page is shown of a picture -> the file that was sent

export function remember(picture, file) {
  files.set(picture, file);
}

const SHOWN = 768; // pixels of the longer side of what the page is shown: pictures.py
const name = (token) => `vlmlens live ${token}`;

export function keep(token, state) {
  const { question, picture, scene, second, second_scene, width, height, second_size } = state.sample;
  memory = { effect: memory?.effect ?? null, which: memory?.which ?? "clean", session: state.session, question, picture, scene, second, second_scene, size: [width, height], second_size, edits: state.edits.map((each) => each.edit) };
  stored((store) => store.setItem(name(token), JSON.stringify(memory)));
}

// What is too large, or not allowed in a frame, does not outlive the page; it lives with it.
function stored(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
}

// A map of effects outlives the page, too: on a large model it took minutes.
export function keepMap(token, effect, which) {
  memory = { ...memory, effect, which };
  stored((store) => store.setItem(name(token), JSON.stringify(memory)));
}

export function kept(token) {
  if (memory) return memory;
  return JSON.parse(stored((store) => store.getItem(name(token))) ?? "null");
}

// Tell it in the order in which it can be understood; what is refused is said, and the rest goes on.
export async function replay(before, fresh, ask, upload) {
  let state = fresh;
  const lost = [];
  const tell = async (words, what, details) => {
    try {
      state = (await ask(what, await details())).state;
    } catch (error) {
      lost.push(`${words} (${error.message})`);
    }
  };
  const differs = (a, b) => JSON.stringify(a ?? null) !== JSON.stringify(b ?? null);
  if (before.scene ? differs(before.scene, fresh.sample.scene) : differs(before.picture, fresh.sample.picture)) {
    await tell("the picture", "picture", () => source(before.scene, before.picture, upload));
    if (smaller(before.scene, before.picture, before.size)) lost.push("the full size of the picture");
  }
  if (before.question !== fresh.sample.question) {
    await tell("the question", "question", () => ({ text: before.question }));
  }
  if (before.second) {
    await tell("the second picture", "second", () => source(before.second_scene, before.second, upload));
    if (smaller(before.second_scene, before.second, before.second_size)) lost.push("the full size of the second picture");
  }
  for (const edit of before.edits) await tell(`an edit of ${edit.kind}`, "edit", () => ({ edit }));
  return { state, lost };
}

async function source(scene, picture, upload) {
  return scene ? { scene } : { upload: await upload(files.get(picture) ?? blob(picture)) };
}

// Whether only the smaller copy that is shown is left, as after the page was loaded anew.
function smaller(scene, picture, size) {
  return !scene && !files.has(picture) && Math.max(...(size ?? [0])) > SHOWN;
}

function blob(address) {
  const [head, data] = address.split(",");
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}
