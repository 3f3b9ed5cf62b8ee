// What the model says, clean and edited, side by side, with its likeliest next tokens as bars.

import { act } from "./actions.js";
import { press } from "./fields.js";
import { byId, view, watch } from "./store.js";

const BEST = 5;

export function startAnswers() {
  watch(draw);
  const seen = new IntersectionObserver(([card]) => byId("brief").classList.toggle("needed", !card.isIntersecting), { rootMargin: "-56px 0px 0px 0px", threshold: 0.6 });
  seen.observe(byId("answers-card"));
}

function draw() {
  if (!view.state) return;
  const mark = JSON.stringify([view.state.clean, view.state.edited, view.state.unchanged, view.state.seconds]);
  const box = byId("answers");
  if (box.dataset.mark === mark) return;
  box.dataset.mark = mark;
  const { clean, edited, seconds } = view.state;
  box.replaceChildren(side("Clean", clean, clean), edited ? side("Edited", edited, clean) : nothing());
  if (view.state.unchanged) box.lastChild.append(make("p", "hint", "No next token's logit is another than in the clean run: on this answer, the edits have no effect."));
  byId("brief").replaceChildren(...brief("clean", clean, clean), ...(edited ? brief("edited", edited, clean) : []));
  byId("seconds").textContent = seconds === undefined ? "" : `${seconds.toFixed(2)} s`;
}

// The answers again, slim, in the bar that stays: for when their card is out of view.
function brief(name, run, clean) {
  const said = make("b", "", run.answer || "∅");
  said.dataset.run = name;
  said.classList.toggle("changed", !alike(run.answer, clean.answer));
  return [make("span", "", name), said, make("span", "", percent(run.top[0].probability))];
}

function side(name, run, clean) {
  const box = make("div", "side");
  box.dataset.run = name.toLowerCase();
  const said = make("p", "said", run.answer || "∅");
  said.classList.toggle("changed", !alike(run.answer, clean.answer));
  const bars = make("ul", "bars");
  bars.setAttribute("aria-label", `${name.toLowerCase()}: likeliest next tokens`);
  for (const { token, probability } of run.top.slice(0, BEST)) bars.append(bar(token, probability, clean.top));
  box.append(make("h3", "", name), said, bars);
  if (unheard(run.answer)) box.append(hearing(said, name === "Edited", clean));
  return box;
}

// Where a model is slow, the server gives the likeliest token and an ellipsis for an answer.
function unheard(answer) {
  return answer.endsWith("…");
}

function alike(answer, clean) {
  return unheard(answer) ? clean.startsWith(answer.slice(0, -1)) : answer === clean;
}

function hearing(said, edited, clean) {
  const one = press("To its end", async () => {
    const whole = await act.whole(edited);
    if (whole === null) return;
    for (const each of [said, byId("brief").querySelector(`[data-run=${edited ? "edited" : "clean"}]`)]) {
      each.textContent = whole || "∅";
      each.classList.toggle("changed", whole !== clean.answer);
    }
    one.parentElement.remove();
  });
  const box = make("p", "hint more");
  box.append("Only the first token, since this takes long here. ", one);
  return box;
}

function bar(token, probability, before) {
  const row = make("li");
  const length = make("span", "length");
  length.style.width = `${100 * probability}%`;
  const track = make("span", "track");
  track.append(length);
  const was = before.find((each) => each.token === token)?.probability;
  if (was !== undefined && was !== probability) {
    const tick = make("span", "was");
    tick.style.left = `${100 * was}%`;
    tick.title = `clean: ${percent(was)}`;
    track.append(tick);
  }
  row.append(make("span", "token", visible(token)), track, make("span", "share", percent(probability)));
  return row;
}

function percent(share) {
  if (share > 0 && share < 0.001) return "<0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

function nothing() {
  const box = make("div", "side empty");
  box.append(make("h3", "", "Edited"), make("p", "hint", "Nothing is edited yet. Choose heads, a region or a word, and change something: the answer comes here."));
  return box;
}
