"""What one tab does: a history, made into interventions, answers and the state that it is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from secrets import token_urlsafe
from time import perf_counter
from typing import Any, final

from vlmlens.errors import InputError, VLMLensError
from vlmlens.interventions import Intervention
from vlmlens.live.asking import TOKENS, Answer, Asking, Clean
from vlmlens.live.edits import LiveEdit, as_json
from vlmlens.live.edits.base import Setting
from vlmlens.live.edits.cell import Cell
from vlmlens.live.history import Held, History
from vlmlens.live.moving import carried, why
from vlmlens.live.pictures import as_data_address, as_scene
from vlmlens.live.source import Code, cell, written
from vlmlens.live.turns import Cancelled, Job
from vlmlens.sample import Sample


@final
class Session:
    """One tab's question, picture and edits.

    Everything is computed before anything is kept: what fails or is called off changes nothing.

    Attributes:
        name: tells it from others.
        origin: the name of the one that it was copied from; None of a new one.
        history: what was done.
    """

    def __init__(self, asking: Asking, sample: Sample):
        self.name = token_urlsafe(9)
        self.origin: str | None = None
        self.asking = asking
        second = None if asking.saved is None else asking.saved.second
        self.history = History(Held(sample, second))

    def copied(self) -> "Session":
        """Another one that goes on from here: a tab that was doubled has its own edits."""
        made = Session(self.asking, self.now.sample)
        made.history, made.origin = self.history, self.name
        return made

    @property
    def now(self) -> Held:
        """What is held now."""
        return self.history.now

    def interventions(self, clean: Clean, held: Held) -> tuple[tuple[Intervention, ...], ...]:
        """What each edit stands for."""
        setting = Setting(
            self.asking.model,
            clean.inputs,
            partial(self.asking.heads, clean),
            partial(self.second, clean, held),
            partial(self.asking.cell, held.sample),
        )
        for edit in held.edits:
            edit.refuse_outside(len(setting.layout))
        return tuple(edit.interventions(setting) for edit in held.edits)

    def show(self, job: Job, history: History, dropped: Sequence[dict[str, str]] = ()) -> Any:
        """Compute what a history comes to, keep it, and say the new state."""
        began = perf_counter()
        held = history.now
        clean = self.asking.clean(held.sample, job)
        made = self.interventions(clean, held)
        edits = [one for each in made for one in each]
        edited = self.asking.edited(clean, edits, job) if edits else None
        state = self._state(held, clean, edited, made)
        self.history = history
        return state | {
            "undo": bool(history.past),
            "redo": bool(history.future),
            "seconds": round(perf_counter() - began, 4),
            "dropped": list(dropped),
        }

    def asked(self, job: Job, sample: Sample, second: Sample | None) -> Any:
        """Another question or another picture; edits that cannot stay are dropped, and said."""
        held = self.now
        old = self.asking.clean(held.sample, job).inputs.layouts[0]
        clean = self.asking.clean(sample, job)
        kept, dropped = carried(held.edits, old, clean.inputs.layouts[0])
        changed = Held(sample, second, kept)
        try:
            return self.show(job, self.history.then(changed), dropped)
        except Cancelled:
            raise
        except VLMLensError:
            kept, refused = self._fitting(clean, changed, job)
            if not refused:
                raise
        return self.show(job, self.history.then(changed.with_edits(kept)), [*dropped, *refused])

    def edits(self, job: Job) -> tuple[Clean, tuple[Intervention, ...]]:
        """The clean run, and all interventions in order."""
        clean = self.asking.clean(self.now.sample, job)
        return clean, tuple(e for each in self.interventions(clean, self.now) for e in each)

    def code(self, job: Job) -> str:
        """A cell that does all of it."""
        held = self.now
        clean = self.asking.clean(held.sample, job)
        names = self._names(clean, held)
        other = held.second and replace(held.second, question=held.sample.question)
        made = self.interventions(clean, held)
        return cell(self.asking.model, held.sample, other, self._codes(held, made, names), TOKENS)

    def _codes(
        self,
        held: Held,
        made: Sequence[tuple[Intervention, ...]],
        names: Mapping[int, str],
    ) -> list[Code]:
        """Every edit as Python."""
        found = []
        for edit, own in zip(held.edits, made, strict=True):
            if isinstance(edit, Cell):
                it, saved = self.asking.cell(held.sample, edit.at), self.asking.saved
                pair = saved.both[0] if saved is not None and saved.both[1] is not None else None
                found.append(Code(it.lines, it.kinds, it.before, pair))
            else:
                lines = tuple(written(one, names) for one in own)
                found.append(Code(lines, frozenset(type(one).__name__ for one in own)))
        return found

    def _fitting(
        self, clean: Clean, held: Held, job: Job
    ) -> tuple[tuple[LiveEdit, ...], list[dict[str, str]]]:
        """The edits that this prompt takes, each by itself, and why the others are refused."""
        kept: list[LiveEdit] = []
        refused: list[dict[str, str]] = []
        for edit in held.edits:
            try:
                (made,) = self.interventions(clean, held.with_edits((edit,)))
                self.asking.edited(replace(clean, quick=False), made, job)
                kept.append(edit)
            except Cancelled:
                raise
            except VLMLensError as error:
                refused.append(why(edit, clean.inputs.layouts[0], error))
        return tuple(kept), refused

    def second(self, clean: Clean, held: Held) -> Any:
        if held.second is None:
            raise InputError("a patch comes from a second picture: choose one first")
        return self.asking.stream(clean, held.second)

    def _names(self, clean: Clean, held: Held) -> dict[int, str]:
        """What activations that edits hold are called in code."""
        names = {id(self.asking.heads(clean)): "clean.saved"}
        if held.second is not None:
            names[id(self.asking.stream(clean, held.second))] = "second.saved"
        return names

    def _state(
        self,
        held: Held,
        clean: Clean,
        edited: Answer | None,
        made: Sequence[tuple[Intervention, ...]],
    ) -> dict[str, Any]:
        model, names = self.asking.model, self._names(clean, held) if made else {}
        layout, codes = clean.inputs.layouts[0], self._codes(held, made, names)
        chosen = next((edit.at for edit in held.edits if isinstance(edit, Cell)), None)
        saved = self.asking.saved
        return {
            "session": self.name,
            "origin": self.origin,
            "model": {
                "name": str(model.name),
                "layers": model.layers,
                "heads": model.cfg.n_heads,
                "kind": model.config.model_type,
            },
            "sample": self._shown(held),
            "tokens": [_token(layout, at) for at in range(len(layout))],
            "query": len(layout) - 1,
            "cell": saved and chosen and saved.told((chosen[0], chosen[1])),
            "mapped": saved is not None,
            "home": saved is not None and saved.is_of(held.sample),
            "clean": self._answer(clean.answer),
            "edited": edited and self._answer(edited),
            "unchanged": edited is not None and clean.answer.alike(edited),
            "edits": [
                {
                    "number": number,
                    "label": edit.label(layout),
                    "python": ",\n".join(code.lines),
                    "edit": as_json(edit),
                }
                for number, (edit, code) in enumerate(zip(held.edits, codes, strict=True))
            ],
        }

    def _shown(self, held: Held) -> dict[str, Any]:
        shown = {"question": held.sample.question, **self._picture(held.sample)}
        if held.second is not None:
            other = self._picture(held.second)
            shown["second"] = other["picture"]
            shown["second_size"] = [other["width"], other["height"]]
            if "scene" in other:
                shown["second_scene"] = other["scene"]
        return shown

    def _picture(self, sample: Sample) -> dict[str, Any]:
        """A sample's first picture, its size, and its shapes where it is a drawn scene."""

        def read() -> dict[str, Any]:
            picture = sample.pictures()[0]
            size = {"width": picture.width, "height": picture.height}
            return {"picture": as_data_address(picture), **size}

        made = self.asking.once(("picture", id(sample)), sample, read)
        scene = as_scene(sample.images)
        return made if scene is None else {**made, "scene": scene}

    def _answer(self, answer: Answer) -> dict[str, Any]:
        return {"answer": answer.text, "top": self.asking.top(answer)}


def _token(layout: Any, at: int) -> dict[str, Any]:
    said = {"text": layout.tokens[at], "role": layout.roles[at]}
    if layout.image[at] >= 0:
        said["image"] = int(layout.image[at])
    if layout.row[at] >= 0:
        said["grid"] = [int(layout.row[at]), int(layout.column[at])]
        if (box := layout.box[at].tolist()) and box[0] == box[0]:
            said["box"] = box
    return said
