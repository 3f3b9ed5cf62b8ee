"""The Python that does what was done by hand."""

import base64
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

from vlmlens import positions
from vlmlens.datasets.shapes import Drawn
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM
from vlmlens.picture import Encoded, open_picture
from vlmlens.sample import Sample

#: Columns of a line.
WIDTH = 96
#: What a cell says of a model that was not opened by a name.
NAMELESS = "# `model` is the {name} that is open here: nothing says how it was opened."
CELL = """{imports}

{model}
{pictures}
inputs = model.inputs(sample)
{sources}edits = [
{edits}]
for name, given in (("clean", []), ("edited", edits)):
    answer = model.generate(inputs, given, max_new_tokens={tokens}).texts[0]
    logits = model.run(inputs, given, logits="last").logits[0, -1].float()
    likely = logits.softmax(-1).topk(5)
    words = [model.processor.tokenizer.decode([i]) for i in likely.indices.tolist()]
    print(name, repr(answer), list(zip(words, likely.values.tolist())))
"""


def written(edit: Intervention, names: Mapping[int, str]) -> str:
    """An intervention as it is written, without what is left at its default.

    Args:
        edit: the intervention.
        names: what activations that it holds are called, by ``id``.
    """
    said = []
    for item in fields(edit):
        value = getattr(edit, item.name)
        default = item.default_factory() if callable(item.default_factory) else item.default
        if value is not default and value != default:
            said.append(f"{item.name}={names.get(id(value)) or repr(value)}")
    return f"{type(edit).__name__}({', '.join(said)})"


@dataclass(frozen=True, eq=False)
class Code:
    """An edit as Python.

    Attributes:
        lines: its interventions.
        kinds: the names that they need of ``vlmlens.interventions``.
        before: lines that come before all edits.
        pair: the sample that these call ``pair``.
    """

    lines: tuple[str, ...]
    kinds: frozenset[str]
    before: str = ""
    pair: Sample | None = None


def folded(line: str, by: str = "    ") -> str:
    """A line of code, broken where it is long."""
    inner = by + "    "
    return textwrap.fill(
        line,
        WIDTH,
        initial_indent=by,
        subsequent_indent=inner,
        break_long_words=False,
        break_on_hyphens=False,
    )


def cell(
    model: HookedVLM,
    sample: Sample,
    second: Sample | None,
    edits: Sequence[Code],
    tokens: int,
) -> str:
    """A cell that opens the model, asks, edits and prints both answers; runs by itself.

    Args:
        model: the open model.
        sample: what is asked.
        second: the same question about the second picture, if it is patched from.
        edits: every edit as Python.
        tokens: how long answers may be.
    """
    code = [line for edit in edits for line in edit.lines]
    used = {name for text in code for name in ("clean", "second") if f"{name}.saved" in text}
    samples = [("sample", sample)] + ([("other", second)] if "second" in used and second else [])
    samples += [("pair", edit.pair) for edit in edits if edit.pair is not None]
    lines, shapes = [], False
    for name, each in samples:
        lines.append(f"{name} = {as_python(each)}")
        shapes = shapes or any(isinstance(picture, Drawn) for picture in each.images)
    imports = ["import base64", ""] * any("base64." in line for line in lines)
    imports += ["import vlmlens as vl"]
    imports += ["from vlmlens.datasets.shapes import Scene, Shape"] * shapes
    own = sorted({kind for edit in edits for kind in edit.kinds})
    imports += [folded(f"from vlmlens.interventions import {_listed(own)}", "")] * bool(own)
    places = {name for line in code for name in re.findall(r"\b([A-Z]\w+)\(", line)}
    places = sorted(places & set(positions.__all__))
    imports += [f"from vlmlens.positions import {_listed(places)}"] * bool(places)
    imports += ["from vlmlens.select import Where"] * any("Where(" in line for line in code)
    return CELL.format(
        imports="\n".join(imports),
        model=opening(model),
        pictures="\n".join(lines),
        sources="".join([_SOURCES[name] for name in sorted(used)] + [e.before for e in edits]),
        edits="".join(folded(f"{text},") + "\n" for text in code),
        tokens=tokens,
    )


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(names)
    return f"({listed})" if len(listed) > WIDTH // 2 else listed


#: How the activations that edits hold are made again.
_SOURCES = {
    "clean": 'clean = model.run(inputs, save="blocks.*.attn.hook_z", logits=False)\n',
    "second": (
        'held = ["blocks.0.hook_resid_pre", "blocks.*.hook_resid_post"]\n'
        "second = model.run(model.inputs(other), save=held, logits=False)\n"
    ),
}


def opening(model: HookedVLM) -> str:
    """The line that opens the model again."""
    if not model.opening:
        return NAMELESS.format(name=repr(model.name))
    name, options = model.opening
    usual = {"device": None, "dtype": "auto"}
    said = [f"{key}={_said(value)}" for key, value in options if usual.get(key, ...) != value]
    return f"model = vl.HookedVLM.from_pretrained({', '.join([repr(name), *said])})"


def _said(value: Any) -> str:
    """An option of opening; torch's own values by their names."""
    return repr(str(value).removeprefix("torch.")) if not _plain(value) else repr(value)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float)


def as_python(sample: Sample) -> str:
    """A sample as it is written."""
    pictures = ", ".join(map(_picture, sample.images))
    said = [repr(sample.question), f"[{pictures}]"]
    for name in ("answer", "references", "choices", "id", "options"):
        if value := getattr(sample, name):
            said.append(f"{name}={value!r}")
    return f"vl.Sample(\n    {(','.join(f'{chr(10)}    {part}' for part in said)).strip()},\n)"


def _picture(picture: Any) -> str:
    if isinstance(picture, Drawn):
        shapes = ",\n        ".join(map(repr, picture.scene.shapes))
        return f"Scene((\n        {shapes},\n    )).draw({picture.size})"
    if isinstance(picture, str | Path):
        return repr(str(Path(picture).absolute()))
    if isinstance(picture, Encoded):
        data = picture.data
    else:
        buffer = BytesIO()
        open_picture(picture).save(buffer, format="png")
        data = buffer.getvalue()
    written, wide = base64.b64encode(data).decode(), WIDTH - 12
    lines = [written[at : at + wide] for at in range(0, len(written), wide)]  # megabytes of it
    quoted = "\n        ".join(f'"{line}"' for line in lines)
    return f"base64.b64decode(\n        {quoted}\n    )"
