// Buttons, and numbers to type, step or leave empty.

import { change } from "./store.js";

export function press(text, act, name = "vx-button") {
  return button(text, act, name);
}

// A labelled number; `value()` is null where it is empty.
export function field(label, start, { step = 1, min = null, max = null, shown = false, heard = null } = {}) {
  const node = make("label", "field");
  const input = make("input");
  input.type = "number";
  input.step = String(step);
  if (min !== null) input.min = String(min);
  if (max !== null) input.max = String(max);
  input.value = start === null ? "" : String(start);
  if (shown) node.append(make("span", "", label));
  else input.setAttribute("aria-label", label);
  node.append(input);
  const value = () => (input.value === "" || !Number.isFinite(input.valueAsNumber) ? null : input.valueAsNumber);
  if (heard) {
    input.addEventListener("change", () => {
      if (input.validity.badInput) change({ error: wanting(label) });
      else heard(value());
    });
  }
  return { node, input, value, label };
}

// Do something with what stands in fields, each of which has to hold a number.
export function given(fields, act) {
  const empty = fields.find((each) => each.value() === null);
  if (!empty) return act(...fields.map((each) => each.value()));
  change({ error: wanting(empty.label) });
  return empty.input.focus();
}

function wanting(label) {
  return `Type a number for “${label}” first.`;
}
