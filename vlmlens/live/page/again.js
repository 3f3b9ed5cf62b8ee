// What this page would have to tell a server that knows nothing of it: kept for this tab.

let memory = null;

const name = (token) => `vlmlens live ${token}`;

export function keep(token, state) {
  const { question, picture, scene, second, second_scene } = state.sample;
  memory = { session: state.session, question, picture, scene, second, second_scene, edits: state.edits.map((each) => each.edit) };
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
  }
  if (before.question !== fresh.sample.question) {
    await tell("the question", "question", () => ({ text: before.question }));
  }
  if (before.second) await tell("the second picture", "second", () => source(before.second_scene, before.second, upload));
  for (const edit of before.edits) await tell(`an edit of ${edit.kind}`, "edit", () => ({ edit }));
  return { state, lost };
}

async function source(scene, picture, upload) {
  return scene ? { scene } : { upload: await upload(blob(picture)) };
}

function blob(address) {
  const [head, data] = address.split(",");
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}
