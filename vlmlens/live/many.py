"""Code that asks the page's question about many pictures: each head alone, then some together."""

from collections import Counter
from typing import TYPE_CHECKING

from vlmlens.datasets.shapes import Drawn, Scene
from vlmlens.errors import InputError
from vlmlens.live.asking import TOKENS
from vlmlens.live.edits.heads import Heads
from vlmlens.live.source import as_python, opening
from vlmlens.live.sweeping import compared
from vlmlens.live.turns import Job
from vlmlens.sample import Sample

if TYPE_CHECKING:
    from vlmlens.live.session import Session

MANY = """{imports}

{model}
{samples}

# Of the two answers that the page compares, the one that each picture is nearer to.
words, tokens = {words}, {tokens}
logits = model.run(model.inputs(samples), logits="last").logits[:, -1]
own = [words[int(row[tokens[1]] > row[tokens[0]])] for row in logits]
samples = [replace(each, answer=word) for each, word in zip(samples, own, strict=True)]

# Each head alone: what knocking it out adds to logit(own) - logit(other), mean and 95 % interval.
effect = vl.experiments.sweep(
    model,
    samples,
    point="blocks.*.attn.hook_z",
    over="head",
    edit=ZeroAblate(),
    answers=[(word, words[1 - words.index(word)]) for word in own],
)
ranked = mean_map(effect).to_dataframe()[["mean", "low", "high"]]
for word in words:  # the mean where it is the answer: a head may carry only one of the two
    ranked[word] = effect[[each == word for each in own]].mean("sample").to_series()
print(ranked.sort_values("mean", key=abs, ascending=False).head(8))

# Some heads together, beside as many others of the same layers: the share of pictures in which
# the answer's first token stays, and what is answered then.
heads = {heads}
table = vl.experiments.head_effects(
    model, samples, heads, controls={controls}, max_new_tokens={length}
)
kept = mean_map(table["agree"]).to_dataframe()[["mean", "low", "high"]]
print(kept.assign(out=table["heads"].values))
told = table["answer"].to_dataframe().reset_index().rename(columns={{"gold": "own"}})
print(pd.crosstab([told["intervention"], told["own"]], told["answer"]))
"""
#: Pictures of that code, and controls.
PICTURES, CONTROLS = 24, 4
#: What it says where no heads are edited.
STRONGEST = 'ranked["mean"].abs().nlargest(2).index.tolist()  # or your own: [(1, 3), (2, 1)]'


def many(session: "Session", job: Job) -> str:
    """A cell that ranks heads over many pictures, and tries those that edits of the page change.

    Of a drawn scene the pictures are its shapes at other places; of any other picture it is the
    only one, and the cell says where others go.

    Raises:
        InputError: the two answers that are compared are no two words.
    """
    asking, held = session.asking, session.now
    pair = compared(asking.clean(held.sample, job))
    words = [asking.word(token).strip() for token in pair]
    if not all(words) or words[0] == words[1]:
        raise InputError(
            f"code for many pictures compares two words; here they would be {words[0]!r} and "
            f"{words[1]!r}. Ask a question that is answered with a word"
        )
    scene = _scene(held.sample)
    heads = _edited(session)
    imports = ["from dataclasses import replace", "", "import pandas as pd", ""]
    imports += ["import base64", ""] * (not scene and "base64." in as_python(held.sample))
    imports += ["import vlmlens as vl"]
    imports += ["from vlmlens.datasets.shapes import Scene, Shape"] * bool(scene)
    imports += ["from vlmlens.interventions import ZeroAblate"]
    imports += ["from vlmlens.probes.statistics import mean_map"]
    return MANY.format(
        imports="\n".join(imports),
        model=opening(asking.model),
        samples=_samples(held.sample, scene),
        words=words,
        tokens=list(pair),
        heads=heads or STRONGEST,
        controls=CONTROLS if _has_others(heads or [(0, 0)] * 2, asking.model.cfg.n_heads) else 0,
        length=TOKENS,
    )


def _scene(sample: Sample) -> Scene | None:
    """The drawn scene that a sample is about, if its shapes can be put elsewhere."""
    if len(sample.images) != 1 or not isinstance(picture := sample.images[0], Drawn):
        return None
    try:
        picture.scene.elsewhere(0)
    except InputError:  # a crowd, of which the page says so, too
        return None
    return picture.scene


def _samples(sample: Sample, scene: Scene | None) -> str:
    if scene is None:
        return (
            "# Pictures of your own go here: of one alone, nothing has an interval.\n"
            f"samples = [{as_python(sample)}]"
        )
    shapes = "".join(f"        {shape!r},\n" for shape in scene.shapes)
    drawn = f"scene.elsewhere(seed).draw({sample.images[0].size})"  # pyright: ignore
    return (
        f"scene = Scene(\n    (\n{shapes}    )\n)\n"
        f"question = {sample.question!r}\n"
        "# Its shapes at other places; pictures of your own go here.\n"
        f"pictures = [{drawn} for seed in range({PICTURES})]\n"
        "samples = [vl.Sample(question, picture) for picture in pictures]"
    )


def _edited(session: "Session") -> list[tuple[int, ...]]:
    """The heads that edits knock out or change, in their order."""
    edits = [each for each in session.now.edits if isinstance(each, Heads) and each.how != "only"]
    return sorted({head for each in edits for head in each.heads})


def _has_others(heads: list[tuple[int, ...]], count: int) -> bool:
    """Whether every layer has as many other heads."""
    return all(2 * out <= count for out in Counter(layer for layer, _ in heads).values())
