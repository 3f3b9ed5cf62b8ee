"""Commands that share their work, and what they tell while they run."""

import json

import pytest
from conftest import by_turns, picture

from vlmlens.cli.workers import executor_of
from vlmlens.experiments import OnRay, Shard
from vlmlens.store import upkeep

SMALL = ("--permutations", 1, "--max-new-tokens", 1, "--batch", 2)
COMMANDS = {
    "diagnose": ("diagnose", "{model}", "--samples", 6, *SMALL),
    "evaluate": ("evaluate", "{model}", "--data", "shapes-2d", "--samples", 6, *SMALL),
}


@pytest.fixture(params=by_turns(COMMANDS, ["evaluate"]))
def command(request, saved):
    return [str(word).format(model=saved) for word in COMMANDS[request.param]]


def events(said):
    return [json.loads(line) for line in said.splitlines()]


@pytest.mark.slow
def test_shares_fill_one_folder_and_the_last_run_reports(
    vlmlens_says, command, tmp_path, monkeypatch
):
    for i in range(3):
        code, said, told = vlmlens_says(
            *command, "--out", tmp_path / "out", "--shard", f"{i}/3", "--quiet"
        )
        assert (code, said) == (0, "")
        assert f"shard {i}/3: " in told
        assert "are done, and kept in" in told and "%|" not in told  # a bar
    counts = upkeep.status(tmp_path / "out" / "cells").conditions.values()
    assert [each.left for each in counts] == [0] * len(counts)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    told = vlmlens_says(*command, "--out", tmp_path / "out", "--shard", "auto", "--json")[1]
    assert {e["left"] for e in events(told) if e["event"] == "started"} == {0}
    code, said, told = vlmlens_says(*command, "--out", tmp_path / "out", "--quiet")
    assert code == 0
    assert "report.html" in said
    assert "done, " not in told
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
def test_events_are_a_json_object_a_line(vlmlens_says, command, tmp_path):
    code, said, _ = vlmlens_says(*command, "--out", tmp_path, "--json")
    told = events(said)
    assert code == 0
    parts = {each["what"] for each in told[:-1]}
    for part in parts:
        own = [each for each in told[:-1] if each["what"] == part]
        assert [own[0]["event"], own[-1]["event"]] == ["started", "finished"]
        assert {each["event"] for each in own[1:-1]} == {"done"}
        total = own[0]["left"]
        assert all(each["done"] + each["left"] == total for each in own)
        assert own[-1]["left"] == 0
    assert told[-1]["event"] == "finished"
    assert told[-1]["failures"] == []
    assert told[-1]["report"] == str(tmp_path / "report.html")


@pytest.mark.slow
def test_lines_where_there_is_no_terminal(vlmlens_says, command, tmp_path):
    _, _, told = vlmlens_says(*command, "--out", tmp_path)
    lines = [line for line in told.splitlines() if " done, " in line]
    assert lines
    assert all(" of " in line and "0 failed, in " in line for line in lines)


def test_what_failed_is_told_and_named_at_the_end(vlmlens_says, command, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = ["image,question,answer"]
    for n in range(4):
        picture(n).save(folder / f"{n}.png")
        rows.append(f"{n}.png,What?,red")
    (folder / "questions.csv").write_text("\n".join(rows))
    (folder / "3.png").write_bytes(b"none")
    words = [w for w in command if w not in ("--samples", "6", "--data", "shapes-2d")]
    words += ["--data", folder, "--max-failed", 1, "--out", tmp_path / "out"]
    code, said, told = vlmlens_says(*words, "--json")
    assert code == 1
    assert "3.png" in str(events(said)[-1]["failures"])
    assert "of 4 samples failed" in told or "items failed" in told
    assert "3.png" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--shard", "0/2", "--ray", "local"), "two ways to share the work"),
        (("--workers", 2), "--workers is of --ray ADDRESS"),
        (("--quiet", "--json"), "tell nothing, or events"),
        (("--shard", "2/2"), "i=2"),
        (("--device", "cpu", "--device-map", "auto"), "--device puts all of a model in one place"),
        (("--device-map", "mars"), "auto, balanced"),
        (("--shard", "auto"), "neither SLURM_ARRAY_TASK_ID nor RANK"),
    ],
)
def test_what_cannot_be_is_refused(vlmlens_says, command, tmp_path, words, message):
    code, said, told = vlmlens_says(*command, "--out", tmp_path / "out", *words)
    assert (code, said) == (2, "")
    assert message in told


def test_workers_of_ray_have_a_gpu_where_the_device_is_one():
    assert executor_of("", "auto", 2, {"device": "cuda:0"}) == OnRay(2, "auto", num_gpus=1)
    assert executor_of("", "local", None, {"device": "cpu"}) == OnRay()
    assert executor_of("1/4", "", None, {}) == Shard(1, 4)
    assert executor_of("", "", None, {"device": "cuda"}) is None
