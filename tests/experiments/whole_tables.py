"""What a folder's results come to, as bytes: to be the same whoever computed them."""

import json
from pathlib import Path

import pandas as pd

import vlmlens as vl
from vlmlens.evaluation import evaluate
from vlmlens.evaluation import save as save_evaluation
from vlmlens.experiments import Shard, diagnose
from vlmlens.store import upkeep
from vlmlens.store.exporting import export

#: What is told of when and how a table was made, and differs from one run to the next.
PASSING = ("created", "command")
COUNT, BATCH = 10, 2


def asked():
    return vl.datasets.load("shapes-2d", samples=COUNT)


def diagnosed(model, folder, executor=None):
    given = {"permutations": 1, "max_new_tokens": 2, "batch": BATCH, "progress": False}
    return diagnose(model, asked(), folder=folder, executor=executor, **given)


def evaluated(model, folder, executor=None):
    given = {"permutations": 1, "max_new_tokens": 2, "batch": BATCH, "progress": False}
    conditions = "clean,permuted,noise,other-picture"
    given |= {"conditions": conditions, "executor": executor}
    return evaluate(model, asked(), folder=folder, **given)


RECIPES = {"diagnose": diagnosed, "evaluate": evaluated}


def in_shards(recipe, model, folder, count=4):
    """Every share into a folder of its own; all of them brought into one."""
    parts = [folder / str(i) for i in range(count)]
    for i, part in enumerate(parts):
        recipe(model, part, Shard(i, count))
    upkeep.merge(folder / "all" / "cells", [part / "cells" for part in parts])
    return folder / "all"


def tables(recipe, model, folder: Path) -> dict[str, bytes]:
    """What a folder holds, exported, and what is read of it without computing anything."""
    found = recipe(model, folder)
    export(folder / "cells", folder / "all.csv")
    exported = pd.read_csv(folder / "all.csv", dtype=str)  # in the order of the files' names
    exported = exported[sorted(exported)].sort_values(sorted(exported))
    made = {"export": exported.to_csv(index=False).encode()}
    if recipe is diagnosed:
        for name, table in (("results", found.results), ("psi", found.psi)):
            for word, column in table.variables.items():
                told = (str(column.dtype), column.shape, column.dims, column.attrs)
                made[f"{name}.{word}"] = repr(told).encode() + column.values.tobytes()
            attrs = {k: v for k, v in table.attrs.items() if k not in PASSING}
            made[f"{name} attributes"] = json.dumps(attrs, default=str).encode()
        return made
    for name, path in save_evaluation(found, folder).items():
        if name != "items":  # whose footer says when it was made
            made[name] = path.read_bytes()
    made["items"] = found.items.to_csv(index=False).encode()
    return made
