// The page: everything that stands around the panels, and the order in which they start.

import { act, start } from "./actions.js";
import { byId, change, view, watch } from "./store.js";
import { startAnswers } from "./answers.js";
import { startEdits } from "./edits.js";
import { startHeads } from "./heads.js";
import { startLens } from "./lens.js";
import { startMaps } from "./maps.js";
import { startPicture } from "./picture.js";
import { startRegions } from "./regions.js";
import { startSaved } from "./saved.js";
import { startSecond } from "./second.js";
import { startWords } from "./words.js";

const GUIDE = [
  ["Heads", "“Try each head” knocks out every head in turn and paints how much the answer hangs on it. Click the strongest ones, then “Knock out”: the edited answer is beside the clean one."],
  ["Words", "Click one: what it reads, and what each layer would say there. Drag an arrow from it to the picture (or choose a region, then press B on the word): it no longer reads that."],
  ["Picture", "Drag to choose a region, click a patch to look from it. Drop a file on it for another picture; “Move a shape” drags the drawn shapes, “Another scene” puts them elsewhere."],
  ["Second", "Another picture, whose patches you put in place of the first one's, layer by layer."],
  ["Code", "“Copy as code” gives a cell that runs by itself and prints the same answer."],
  ["Edits", "Each one is listed. Point at one that cuts reading to see its arrow; heads that are out have a cross on the map."],
  ["Keys", "The first Tab on the page offers links to the panels. Tab moves between panels, arrows inside them. Shift + arrows choose a region, Space adds a patch, Enter looks or chooses, B blocks, Escape lets go of everything that is chosen, Ctrl + Z undoes, Ctrl + Shift + Z does it again."],
];

function question() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = byId("question").value;
    const text = typed === written ? asked : typed.trim(); // a field may change ends of lines
    if (text) {
      act.question(text);
      return;
    }
    change({ error: "Type a question about the picture first, then press Ask." });
    byId("question").focus();
  });
  // Enter asks; Shift + Enter begins another line, as those of choices.
  byId("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("form").requestSubmit();
  });
  let asked = null;
  let written = null; // what the field made of it
  watch(({ state }) => {
    if (!state || state.sample.question === asked) return;
    asked = state.sample.question;
    byId("question").value = asked;
    written = byId("question").value;
  });
}

let scenes = 0;

// A file that is dropped anywhere is another picture; on the second picture's card, the second.
function files() {
  const file = byId("file");
  byId("choose").addEventListener("click", () => file.click());
  byId("elsewhere").addEventListener("click", () => act.elsewhere(++scenes));
  file.addEventListener("change", () => {
    if (file.files.length) act.picture(file.files[0]);
    file.value = "";
  });
  const zone = (event) => (event.target.closest?.("#second") ? byId("second") : byId("picture"));
  const light = (zone) => ["second", "picture"].forEach((id) => byId(id).classList.toggle("drop", byId(id) === zone));
  const typing = (event) => event.target.matches?.("textarea, input") && !event.dataTransfer.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (typing(event)) return;
    event.preventDefault();
    light(zone(event));
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && light(null));
  document.addEventListener("drop", (event) => {
    if (typing(event)) return;
    event.preventDefault();
    light(null);
    const [dropped] = event.dataTransfer.files;
    if (!dropped) {
      change({ error: "What was dropped is no file: save the picture, then drop its file." });
      return;
    }
    if (zone(event) === byId("second")) act.second(dropped);
    else act.picture(dropped);
  });
}

function frame() {
  byId("guide").append(...GUIDE.flatMap(([what, how]) => [make("dt", "", what), make("dd", "", how)]));
  for (const link of document.querySelectorAll(".skips a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault(); // the page has a base: the link alone would lead to another page
      const to = byId(link.hash.slice(1));
      to.scrollIntoView({ block: "center" });
      to.focus();
    });
  }
  byId("help").addEventListener("click", () => {
    byId("help-box").showModal();
    byId("help-close").focus();
  });
  byId("help-close").addEventListener("click", () => byId("help-box").close());
  byId("help-box").addEventListener("click", (event) => event.target === byId("help-box") && byId("help-box").close());
  byId("cancel").addEventListener("click", act.cancel);
  byId("dismiss").addEventListener("click", () => change({ error: "" }));
  watch(({ state, online, work, error }) => {
    if (state) {
      byId("model").textContent = state.model.name;
      document.title = `${state.model.name} · vlmlens live`;
    }
    byId("elsewhere").hidden = !state?.sample.scene;
    byId("status").textContent = online ? "connected" : state ? "no answer from the server, trying again; nothing is lost" : "connecting";
    byId("status").dataset.online = String(online);
    byId("error").hidden = !error;
    byId("message").textContent = error;
    byId("work").hidden = !work;
    byId("note").textContent = work?.note ?? "";
    if (Number.isFinite(work?.progress)) byId("progress").value = work.progress;
    else byId("progress").removeAttribute("value");
    document.body.dataset.version = String(view.version);
    document.body.dataset.ready = String(Boolean(state && online));
  });
}

for (const each of [frame, question, files, startPicture, startWords, startRegions, startAnswers, startHeads, startSaved, startEdits, startSecond, startLens, startMaps]) each();
change();
start();
