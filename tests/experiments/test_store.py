"""What is kept is what was computed, or it is missing; and nothing is lost."""

import json
import logging
import os
import socket
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
from children import python, ran
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import Diagnosis, Experiment, Measure, claim, read, save
from vlmlens.experiments.files import write
from vlmlens.identity import digest


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM(*build("llava"), name="tiny") as opened:
        yield opened


def asked(count=4, **more):
    return [
        vl.Sample(QUESTIONS[0], (picture(n),), answer="red", id=str(n), **more)
        for n in range(count)
    ]


CALLS: list[str] = []


@dataclass(frozen=True)
class Giving(Measure):
    """Gives every sample the value of its number, and writes down who was asked."""

    values: tuple = (1, 2, 3, 4)
    kinds: tuple = field(default=())

    def __call__(self, model, samples, interventions):
        CALLS.append(" ".join(s.id for s in samples))
        given = [self.values[int(s.id)] for s in samples]
        made = np.array(given, dtype=self.kinds[int(samples[0].id)] if self.kinds else None)
        return xr.Dataset({"x": ("sample", made)}, coords={"sample": [s.id for s in samples]})


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def experiment(model, measure=Giving(), **more):
    return Experiment(model, asked(), measure, batch=2, **more)


NAN = float("nan")
#: Values of four samples in two batches, the shorter or narrower first.
ROUNDS = {
    "words": ("a", "bc", "yellow triangle", "bottom left"),
    "words and none": ("", "", "ö\n\u2028", "the end"),
    "words that no file holds": ("a\0b", "\\x00", "caf\udce9", "\\"),
    "whole numbers": (1, 2, 3, 2**53 + 1),
    "whole before others": (1, 2, 1.5, -0.0),
    "floats": (0.1, NAN, float("inf"), 5e-324),
    "flags": (True, False, False, True),
    "flags before numbers": (True, False, 2, 3),
    "halves before floats": (0.5, 0.25, 0.1, 0.2),
}
KINDS = {"halves before floats": ("f2", "f2", "f8", "f8"), "flags": ("?",) * 4}


@pytest.mark.parametrize("kind", ROUNDS)
def test_what_is_resumed_is_what_was_computed(model, tmp_path, kind):
    measure = Giving(values=ROUNDS[kind], kinds=KINDS.get(kind, ()))
    alone = experiment(model, measure).run()
    first = experiment(model, measure).run(tmp_path / "cells")
    again = experiment(model, measure).run(tmp_path / "cells")
    assert len(CALLS) == 4
    for name, table in (("alone", alone), ("first", first), ("again", again)):
        assert table["x"].dtype == alone["x"].dtype
        assert table["x"].values.tobytes() == alone["x"].values.tobytes()
        xr.testing.assert_identical(table, alone)
        written = read(write(table, tmp_path / f"{name}.nc"))
        assert written["x"].dtype == alone["x"].dtype
        xr.testing.assert_identical(written, alone)
        if kind != "words that no file holds":  # by xarray's own hand, as anybody does
            table.to_netcdf(tmp_path / "own.nc", engine="h5netcdf")
            xr.testing.assert_identical(xr.load_dataset(tmp_path / "own.nc"), alone)


def test_words_of_a_table_that_was_read_are_not_cut_where_others_join_it(tmp_path):
    """A file has its own width of words, and a table remembers the first one's."""
    for name, word in (("a", "red"), ("b", "orange triangle")):
        write(xr.Dataset({"answer": ("sample", [word])}), tmp_path / name)
    both = xr.concat([read(tmp_path / "a"), read(tmp_path / "b")], "sample")
    both.to_netcdf(tmp_path / "both", engine="h5netcdf")
    assert read(tmp_path / "both")["answer"].values.tolist() == ["red", "orange triangle"]


def test_what_a_table_remembers_of_another_file_changes_nothing(tmp_path):
    """Read by xarray's own hand and made longer, as anybody does before a table is kept."""
    xr.Dataset({"said": ("sample", ["a", "b"])}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    table = xr.load_dataset(tmp_path / "a.nc")
    said = table["said"].copy(data=np.array(["yellow triangle", "the end"]))
    share = xr.DataArray([0.25, NAN], dims="sample")
    share.encoding = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -1}
    assert said.encoding
    table = xr.Dataset({"said": said, "share": share})
    xr.testing.assert_identical(read(write(table, tmp_path / "b.nc")), table)


def test_names_that_are_no_unicode_are_written_all_the_same(model, tmp_path):
    names = [f"caf\udce9 {n}.png" for n in range(4)]
    found = Experiment(model, asked(), Giving(), names=names).run(tmp_path)
    assert read(write(found, tmp_path / "r.nc"))["sample"].values.tolist() == names


def cells(folder):
    return sorted(folder.glob("results-*.parquet"))


def cut(path, other):
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path, other):
    path.write_bytes(b"")


def no_parquet(path, other):
    path.write_bytes(os.urandom(3000))


def flipped(path, other):
    """One bit of what was measured, and the file's date as it was."""
    dates, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))


def of_another(path, other):
    path.write_bytes(other.read_bytes())


def renamed(path, other):
    path.rename(path.with_name("results-" + "0" * 24 + ".parquet"))


def of_another_layout(path, other):
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[b"vlmlens"]) | {"format": 99}
    pq.write_table(table.replace_schema_metadata({b"vlmlens": json.dumps(meta)}), path)
    path.rename(path.with_name(f"results-{digest(path.read_bytes())[:24]}.parquet"))


def somebody_elses(path, other):
    """A whole file of Parquet's, with a right checksum, that we never wrote."""
    pq.write_table(pa.table({"x": [1.0]}), path)
    path.rename(path.with_name(f"results-{digest(path.read_bytes())[:24]}.parquet"))


@pytest.mark.parametrize(
    "damage",
    [
        *(cut, emptied, no_parquet, flipped, of_another, renamed),
        *(of_another_layout, somebody_elses),
    ],
)
def test_a_file_that_is_not_what_was_kept_is_missing_and_said(model, tmp_path, caplog, damage):
    alone = experiment(model).run()
    Experiment(model, asked()[2:], Giving(), batch=2).run(tmp_path)
    (second,) = cells(tmp_path)
    experiment(model).run(tmp_path)
    (first,) = set(cells(tmp_path)) - {second}
    CALLS.clear()
    damage(first, second)
    with caplog.at_level(logging.WARNING):
        xr.testing.assert_identical(experiment(model).run(tmp_path), alone)
    assert CALLS == ["0 1"]
    there = [path for path in cells(tmp_path) if str(path) in caplog.text]
    assert len(there) == 1
    CALLS.clear()
    experiment(model).run(tmp_path)
    assert CALLS == []


def test_results_of_an_older_version_are_named_and_not_read(model, tmp_path, caplog):
    old = tmp_path / f"{'ab' * 12}.nc"
    xr.Dataset({"x": ("sample", [1.0])}).to_netcdf(old, engine="h5netcdf")
    with caplog.at_level(logging.WARNING):
        experiment(model).run(tmp_path)
    assert f"1 results of vlmlens 0.3 or before ({old.name} ...), which are not read" in caplog.text
    assert CALLS == ["0 1", "2 3"]


def test_what_was_left_half_written_is_cleared_away(model, tmp_path):
    gone = python("import os; print(os.getpid())").stdout.strip()
    here = socket.gethostname()
    left = [tmp_path / f".abc.nc.{gone}.part", tmp_path / f".abc.nc.{here}.{gone}.part"]
    kept = [
        tmp_path / f".abc.nc.{os.getpid()}.part",
        tmp_path / f".abc.nc.{here}.{os.getpid()}.part",
        tmp_path / f".abc.nc.elsewhere.{gone}.part",
    ]
    for path in left + kept:
        path.write_bytes(b"half")
    experiment(model).run(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


# Folders that cannot be.


def under_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "cells"


def a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


def too_long(tmp_path):
    return tmp_path / ("x" * 300)


def a_link_to_nothing(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    return tmp_path / "link"


def of_the_system(tmp_path):
    return "/proc/vlmlens/cells"


def with_nul(tmp_path):
    return f"{tmp_path}/a\0b"


@pytest.mark.parametrize(
    "place", [under_a_file, a_file, too_long, a_link_to_nothing, of_the_system, with_nul]
)
def test_a_folder_that_cannot_be_is_said_before_anything_is_computed(model, tmp_path, place):
    folder = place(tmp_path)
    with pytest.raises(DataError, match=r"cannot keep results in .*name another folder"):
        experiment(model).run(folder)
    with pytest.raises(DataError, match=r"cannot keep results in .*name another folder"):
        claim(folder, "tiny")
    assert CALLS == []


def refuse_to_write(monkeypatch, error):
    import tempfile

    def refuse(*given, **more):
        raise error

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "nothing can be written into"),
        (OSError(30, "Read-only file system"), "Read-only"),
        (OSError(28, "No space left on device"), "is full"),
    ],
)
def test_a_folder_that_can_only_be_read_serves_what_it_has(
    model, tmp_path, monkeypatch, error, words
):
    experiment(model).run(tmp_path)
    CALLS.clear()
    refuse_to_write(monkeypatch, error)
    assert experiment(model).run(tmp_path)["x"].values.tolist() == [[1, 2, 3, 4]]
    cells(tmp_path)[0].unlink()
    with pytest.raises(DataError, match=words):
        experiment(model).run(tmp_path)
    assert CALLS == []


def test_a_table_that_no_file_holds_is_said(model, tmp_path):
    measure = Giving(values=(b"a", 1, None, {}), kinds=(object,) * 4)
    with pytest.raises(DataError, match="no file holds x, whose values are object"):
        experiment(model, measure).run(tmp_path)


# Whose folder it is.


def diagnosis(name="tiny", revision="1", tables=()):
    attrs = {"model": name, "revision": revision, "versions": "{}", "created": "now"}
    table = xr.Dataset({"x": ("sample", [1.0])}, coords={"sample": ["0"]}, attrs=attrs)
    return Diagnosis(table, table, dict.fromkeys(tables, table))


def test_another_models_folder_is_refused(tmp_path):
    save(diagnosis(), tmp_path)
    assert claim(str(tmp_path), "tiny") == tmp_path
    before = (tmp_path / "results.nc").read_bytes()
    for refused in (lambda: claim(tmp_path, "other"), lambda: save(diagnosis("other"), tmp_path)):
        with pytest.raises(DataError, match=r"holds results of tiny, and other .*--out"):
            refused()
    assert (tmp_path / "results.nc").read_bytes() == before


def test_tables_of_another_run_do_not_stay_beside_the_results(tmp_path, caplog):
    save(diagnosis(tables=["causal", "controls"]), tmp_path)
    save(diagnosis(), tmp_path)  # the same run: they still belong to it
    assert (tmp_path / "causal.nc").is_file()
    save(diagnosis(revision="2", tables=["controls"]), tmp_path)
    assert not (tmp_path / "causal.nc").exists()
    assert (tmp_path / "controls.nc").is_file()
    assert "causal.nc was of another run" in caplog.text
    assert sorted(json.loads((tmp_path / "meta.json").read_text())["tables"]) == [
        *("controls", "psi", "results")
    ]


# What an experiment is made of.

#: Outside the tests, where nothing checks annotations.
SLIPS = """
import numpy as np, xarray as xr, vlmlens as vl
from dataclasses import dataclass
from PIL import Image
from vlmlens.experiments import Experiment, Measure
from vlmlens.interventions import Scale
from vlmlens.zoo.tiny import build

@dataclass(frozen=True)
class Giving(Measure):
    def __call__(self, model, samples, interventions):
        return xr.Dataset({"x": ("sample", [float(len(interventions))] * len(samples))})

samples = [vl.Sample("What?", (Image.new("RGB", (8, 8)),), id=str(n)) for n in range(4)]
slips = [
    *({"batch": batch} for batch in (0, -3, 2.5, True, "4", None)),
    *({"interventions": given} for given in ({}, [Scale()], {"a": Scale}, {"a": "Scale"}, None)),
    *({"samples": given} for given in (None, samples[0], ["a"], 5)),
    *({"dimension": name} for name in ("sample", "gold", "", "x", None)),
    *({"max_failed": limit} for limit in (-1, 1.5, float("nan"), "many", None)),
    {"names": ["one"]},
    *({"folder": folder} for folder in (5, b"cells", "")),
]
edits = {"a": Scale(point="hook_embed"), "b": [], "c": (Scale(point="hook_embed"),)}
with vl.HookedVLM(*build("llava")) as model:
    for slip in slips:
        given = {"samples": samples} | slip
        folder = given.pop("folder", None)
        try:
            Experiment(model, measure=Giving(), **given).run(folder)
        except vl.VLMLensError as error:
            print("refused", error)
        else:
            print("accepted", slip)
    found = Experiment(model, (s for s in samples), Giving(), edits, batch=np.int64(3)).run()
    assert found["x"].values.tolist() == [[1.0] * 4, [0.0] * 4, [1.0] * 4]
print(len(slips))
"""


@pytest.mark.slow
def test_slips_are_refused_in_our_words():
    environment = os.environ | {"PYTHONPATH": str(Path(vl.__file__).parents[1])}
    done = ran(sys.executable, "-", input=SLIPS, env=environment)
    *said, count = done.stdout.strip().splitlines()
    assert len(said) == int(count) == 29
    assert not [line for line in said if not line.startswith("refused ")]


def test_names_of_samples_are_told_apart(model):
    one, two, three, _ = asked()
    samples = [one, replace(two, id="2"), replace(three, id=""), replace(one, id="0")]
    found = Experiment(model, [replace(s, id=s.id or "") for s in samples[:2]], Giving()).run()
    assert found["sample"].values.tolist() == ["0", "2"]

    @dataclass(frozen=True)
    class Counting(Measure):
        def __call__(self, model, samples, interventions):
            return xr.Dataset({"x": ("sample", [1.0] * len(samples))})

    names = Experiment(model, samples, Counting()).run()["sample"].values.tolist()
    assert len(set(names)) == 4
    assert names[:2] == ["0", "2"]


def test_a_table_of_another_length_is_said(model):
    @dataclass(frozen=True)
    class Short(Measure):
        def __call__(self, model, samples, interventions):
            return xr.Dataset({"x": ("sample", [1.0])})

    with pytest.raises(InputError, match=r"given 2 samples, and its table has 1"):
        Experiment(model, asked(2), Short(), max_failed=0).run()
