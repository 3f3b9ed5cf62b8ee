"""The recipe runs, goes on where it was cut off, and trains as the model is asked."""

import shutil
import threading
import warnings
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import vlmlens as vl
from vlmlens.datasets.shapes import CATEGORIES, Scene, Shape, entries, random_scene
from vlmlens.datasets.shapes.questions import ask
from vlmlens.errors import InputError, UnknownNameError
from vlmlens.zoo import load
from vlmlens.zoo.shapes import GRID, shapes_processor
from vlmlens.zoo.training.recipe import arms, base
from vlmlens.zoo.training.recipe.answers import only
from vlmlens.zoo.training.recipe.arms import ARMS, Job, armed, shared_model, train_arm
from vlmlens.zoo.training.recipe.build import new_model
from vlmlens.zoo.training.recipe.gate import passed
from vlmlens.zoo.training.recipe.lessons import Lessons, recalls_of
from vlmlens.zoo.training.recipe.locks import claimed
from vlmlens.zoo.training.recipe.packing import Packer, packed_mask
from vlmlens.zoo.training.recipe.pictures import patch_labels, scene_of, split_of
from vlmlens.zoo.training.recipe.plan import (
    NAMES,
    Recipe,
    Schedule,
    Stage,
    StagedRecipe,
    Syllabus,
    TextPlan,
    TowerPlan,
)
from vlmlens.zoo.training.recipe.queue import jobs, work_off
from vlmlens.zoo.training.recipe.text import Reading, begin_as, reading_mask
from vlmlens.zoo.training.recipe.tower import POSITIONS, TowerLessons, train_tower
from vlmlens.zoo.training.recipe.words import CELLS, THINGS, cell_word, corpus, drawn, listed

FEW = Schedule(steps=4, warmup=2, checkpoint_every=2)
SMALL = Syllabus(batch=2, questions=2, drawn=0.5)
TOWER = TowerPlan(batch=2, schedule=FEW, gate=0.0)
SHORT = Recipe(tower=TOWER, syllabus=SMALL, validation=SMALL, answers=FEW, gate=0.0)
STAGED = StagedRecipe(
    tower=TOWER,
    text=TextPlan(
        Stage(replace(SMALL, names=("word",)), replace(FEW, optimizer="muon")),
        Stage(replace(SMALL, names=NAMES), replace(FEW, optimizer="muon")),
        SMALL,
        gate=0.0,
    ),
    captions=Stage(SMALL, FEW),
    answers=Stage(SMALL, replace(FEW, optimizer="muon")),
    validation=SMALL,
    gate=0.0,
)
loader_warns = pytest.mark.filterwarnings("default")  # torch's loader warns in a worker of its own


@pytest.fixture(scope="module")
def processor():
    return shapes_processor(corpus(scenes=100, in_words=True), vocab_size=1024)


@pytest.fixture(autouse=True)
def few_words(monkeypatch):
    """A tokenizer from few texts: learning one takes longer than the runs here."""
    few = partial(corpus, scenes=100)
    for module in (arms, base):
        monkeypatch.setattr(module, "corpus", few)


def same_weights(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], msg=name)


class Cut:
    """A loss that is killed at its n-th call."""

    def __init__(self, real, at):
        self.real, self.at, self.calls = real, at, 0

    def __call__(self, *args):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.real(*args)


@pytest.mark.slow
@loader_warns
def test_a_run_that_was_cut_off_ends_where_a_whole_one_does(tmp_path, monkeypatch):
    whole = base.train(SHORT, tmp_path / "whole")
    real = base.answer_loss
    monkeypatch.setattr(base, "answer_loss", Cut(real, 4))
    with pytest.raises(KeyboardInterrupt):
        base.train(SHORT, tmp_path / "cut")
    monkeypatch.setattr(base, "answer_loss", real)
    again = base.train(SHORT, tmp_path / "cut")
    same_weights(*(load_file(folder / "model.safetensors") for folder in (whole, again)))
    metrics = (tmp_path / "cut" / "answers.csv").read_text().splitlines()
    assert metrics[0] == "step,what,value"
    assert [row for row in metrics if ",loss," in row][-1].startswith("4,loss,")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with one whole staged run."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("default")
        patch.setattr(arms, "corpus", partial(corpus, scenes=100))
        train_arm(STAGED, Job("both", seed=1), folder)
    return folder


@pytest.mark.slow
@loader_warns
def test_a_staged_run_that_was_cut_off_ends_where_a_whole_one_does(runs, tmp_path, monkeypatch):
    job = Job("both", seed=1)
    for shared in ("tower-kept", "text"):
        shutil.copytree(runs / shared, tmp_path / shared)
    real = arms.answer_loss
    for at in (4, 4):  # in the captions, of which half are kept then; in the answers
        monkeypatch.setattr(arms, "answer_loss", Cut(real, at))
        with pytest.raises(KeyboardInterrupt):
            train_arm(STAGED, job, tmp_path)
    monkeypatch.setattr(arms, "answer_loss", real)
    again = train_arm(STAGED, job, tmp_path)
    whole = runs / job.name / "model"
    same_weights(*(load_file(folder / "model.safetensors") for folder in (whole, again)))
    with vl.HookedVLM.from_pretrained(str(again)) as model:
        assert model.config.vision_feature_layer == [1, 2, 3, 4]
        assert model.config.normalize["kind"] == "match_each"


@pytest.mark.slow
@loader_warns
def test_stages_train_what_they_should_and_share_what_they_may(runs):
    work_off(STAGED, [Job("both", seed=1), Job("both", seed=2)], runs)
    one, two = (
        load_file(runs / Job("both", seed=s).name / "model" / "model.safetensors") for s in (1, 2)
    )
    for name, tensor in one.items():
        shared = "vision_tower" in name or "feature_norm" in name
        assert torch.equal(tensor, two[name]) == shared, name
    files = ("text/questions.pt", "both-kept-x1-1/captions.pt", "both-kept-x1-1/answers.pt")
    read, captions, answers = (torch.load(runs / file) for file in files)
    text = {n.removeprefix("model."): t for n, t in read.items() if not n.startswith("place.")}
    assert len(read) == len(text) + 2  # the read-out, which no model keeps
    words = torch.load(runs / "text" / "words.pt")
    assert words.keys() == read.keys() and not torch.equal(words["place.bias"], read["place.bias"])
    tower = torch.load(runs / "tower-kept" / "tower.pt")
    assert any("self_attn" in name for name in tower)  # the stage before it leaves it frozen
    assert all("language_model" in name or "lm_head" in name for name in text)
    assert all("projector" in name for name in captions)
    assert answers.keys() == text.keys() | captions.keys()
    assert len(text["lm_head.weight"]) > len(answers["lm_head.weight"])


def test_arms_are_the_plain_projector_and_what_is_added(processor):
    model = new_model(processor, 0)
    made = {arm: armed(deepcopy(model), Job(arm, seed=3)) for arm in ARMS}
    features = {arm: getattr(m.config, "vision_feature_layer", None) for arm, m in made.items()}
    assert features == {
        "base": -1,
        "normalize": -1,
        "multilayer": [1, 2, 3, 4],
        "both": [1, 2, 3, 4],
    }
    x = torch.randn(1, GRID**2, 128)
    plain, scaled = (armed(deepcopy(model), Job(seed=3, scale=s)) for s in (1.0, 10.0))
    project = [m.model.multi_modal_projector(x) for m in (plain, scaled, made["normalize"])]
    torch.testing.assert_close(project[1], 10 * project[0])
    lengths = project[2].norm(dim=-1)
    table = model.get_input_embeddings().weight.norm(dim=-1)
    torch.testing.assert_close(lengths, table[table > 0].mean().expand_as(lengths))
    with pytest.raises(UnknownNameError, match="bass"):
        armed(model, Job("bass"))


@loader_warns
def test_runs_may_begin_with_a_bundled_language_model(tmp_path):
    recipe = replace(STAGED, start="shapes-base")
    model, processor = shared_model(recipe, "kept", tmp_path)
    theirs, with_it = load("shapes-base")
    assert processor.tokenizer.get_vocab() == with_it.tokenizer.get_vocab()
    ours = model.state_dict()
    for name, tensor in theirs.state_dict().items():
        same = torch.equal(tensor, ours[name])
        assert same or not ("language_model" in name or "lm_head" in name), name
        assert not same or "multi_modal_projector" not in name, name
    assert not (tmp_path / "text").exists()


def test_the_queue_holds_every_run_once_and_gives_each_to_one(tmp_path):
    names = [job.name for job in jobs()]
    assert len(set(names)) == len(names) == 4 * 3 + 9 * 3 - 3  # base, kept, x1 is in both
    assert [job.arm for job in jobs()[:4]] == list(ARMS)
    with claimed(tmp_path / "a") as first, claimed(tmp_path / "a") as second:
        assert (first, second) == (True, False)
    with claimed(tmp_path / "a") as again:
        assert again


def test_a_run_waits_while_another_teaches_what_they_share(tmp_path, monkeypatch, processor):
    taught: list[str] = []

    def teach(recipe, position, folder):
        taught.append(position)
        return None, processor

    monkeypatch.setattr(arms, "_shared_model", teach)
    run = threading.Thread(target=lambda: shared_model(STAGED, "kept", tmp_path), daemon=True)
    with claimed(tmp_path / "locks" / "shared"):
        run.start()
        run.join(timeout=0.5)
        assert run.is_alive() and not taught
    run.join(timeout=60)
    assert taught == ["kept"]


@pytest.mark.parametrize("position", POSITIONS)
def test_a_tower_learns_places_only_where_it_is_asked_to(position, processor):
    tower = new_model(processor, 0).model.vision_tower
    lessons = TowerLessons(tower, position)
    batch = {
        "pixels": torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8),
        "patches": torch.tensor(patch_labels(scene_of("train", np.random.default_rng(0))))[None],
        "set": torch.zeros(1, 36),
    }
    lessons(batch, right := {k: [] for k in ("color", "kind", "row", "column")}).backward()
    embedding = tower.embeddings.position_embedding.weight
    rows = lessons.patches.weight.grad[-2 * GRID :]
    assert bool(rows.any()) == bool(right["row"]) == (position == "trained")
    assert embedding.requires_grad == (position != "zeroed")
    assert bool(embedding.any()) == (position != "zeroed")


def test_a_kind_of_position_that_does_not_exist_is_refused(processor):
    with pytest.raises(InputError, match="zeroed, kept, trained"):
        TowerLessons(new_model(processor, 0).model.vision_tower, "gone")


@loader_warns
def test_a_stage_below_its_gate_stops_the_run(tmp_path, processor):
    tower = new_model(processor, 0).model.vision_tower
    with pytest.raises(InputError, match=r"below its gate of 1\.1"):
        train_tower(tower, replace(TOWER, gate=1.1), 0, tmp_path)
    assert (tmp_path / "tower.validation.csv").read_text().startswith("form,right\ncolor,")


def test_a_gate_is_the_mean_of_the_forms_that_it_names(tmp_path):
    def loss(batch, right):
        right["kind"].append(batch["kind"])
        right["other"].append(0.0)
        return torch.zeros(())

    batches = [{"kind": 1.0}, {"kind": 0.5}]
    found = passed("stage", loss, batches, tmp_path, gate=0.75, of=("kind",))
    assert found == {"kind": 0.75, "other": 0.0}
    with pytest.raises(InputError, match=r"0\.375"):
        passed("stage", None, [], tmp_path, gate=0.75)  # as it was measured: not again


def test_the_splits_share_no_layout():
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng) for _ in range(400)]
    layouts = {split: set() for split in ("train", "validation", "test")}
    for scene in scenes:
        cells = tuple(sorted({(int(s.y * 4), int(s.x * 4)) for s in scene.shapes}))
        layouts[split_of(scene)].add(cells)
        assert (split_of(scene) == "test") == (scene.split == "test")
    assert all(layouts.values())
    assert not layouts["train"] & layouts["validation"]


CIRCLE, STAR = Shape("circle", "red", 0.3, 0.55, 0.12), Shape("star", "blue", 0.8, 0.2, 0.1)


def test_a_scene_in_words():
    scene = Scene((CIRCLE, STAR))
    said = {"".join(listed(scene, np.random.default_rng(seed))) for seed in range(9)}
    assert said == {" cfive redcircle, gtwo bluestar.", " gtwo bluestar, cfive redcircle."}
    cells = np.array(drawn(scene)).reshape(GRID, GRID)
    assert cells[4, 2] == " redcircle" and cells[1, 6] == " bluestar" and cells[0, 0] == " ."
    assert cell_word(4, 2) == " cfive" and len(set(CELLS)) == GRID**2


def test_every_word_of_a_scene_is_one_token(processor):
    for word in CELLS + THINGS:
        assert len(Packer(processor).encode(word)) == 1, word


def test_a_drawing_has_its_cells_where_a_picture_has_its_tokens(processor):
    packer, rng = Packer(processor), np.random.default_rng(0)
    scene = random_scene(rng)
    picture, (drawing, places) = packer.picture(""), packer.words("", scene, rng, in_cells=True)
    vision = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    assert len(picture) == len(drawing) == len(places)
    cells = [word for token, word in zip(picture, drawing, strict=True) if token == vision]
    assert processor.tokenizer.decode(cells) == "".join(drawn(scene))
    for at, place in enumerate(places):  # a shape's word knows where it stands
        assert place in (-1, at - picture.index(vision))
        assert (place >= 0) == (processor.tokenizer.decode([drawing[at]]) in THINGS)


def test_a_shape_in_a_list_stands_in_the_cell_that_was_named(processor):
    packer, rng = Packer(processor), np.random.default_rng(0)
    ids, places = packer.words("", Scene((CIRCLE, STAR)), rng, in_cells=False)
    said = {processor.tokenizer.decode([i]): p for i, p in zip(ids, places, strict=True) if p >= 0}
    assert said == {" redcircle": 4 * GRID + 2, " bluestar": GRID + 6}


def test_a_tokenizer_without_the_words_is_refused():
    packer, rng = Packer(shapes_processor(corpus(scenes=5))), np.random.default_rng(0)
    for in_cells in (False, True):
        with pytest.raises(InputError, match="in_words=True"):
            packer.words("", random_scene(rng), rng, in_cells=in_cells)


def test_what_a_reader_knows_of_questions_is_kept_and_the_words_of_scenes_are_not(processor):
    without = shapes_processor(corpus(scenes=100))
    reader, model = new_model(processor, 0), new_model(without, 1)
    begin_as(model, without.tokenizer, reader, processor.tokenizer)
    theirs, ours = processor.tokenizer, without.tokenizer
    scene, table = random_scene(np.random.default_rng(0)), model.get_input_embeddings().weight
    for question in [q for category in CATEGORIES for q in ask(scene, category)]:
        text = f"{question.text} ASSISTANT: {question.answer}"
        assert ours.tokenize(text) == theirs.tokenize(text)
        said = (ours(text)["input_ids"], theirs(text)["input_ids"])
        assert torch.equal(table[said[0]], reader.get_input_embeddings().weight[said[1]])
        assert torch.equal(model.lm_head.weight[said[0]], reader.lm_head.weight[said[1]])
    assert len(ours) < len(theirs) - len(CELLS)
    one, other = (m.model.language_model.layers.state_dict() for m in (model, reader))
    same_weights(one, other)


def test_only_names_that_single_a_shape_out_are_recalled():
    rng, square = np.random.default_rng(0), replace(CIRCLE, shape="square", x=0.7, y=0.8)
    scene = Scene((CIRCLE, square, STAR))
    assert recalls_of(scene, (), rng) == []
    for name, expected in {
        "word": [" redcircle", " redsquare", " bluestar"],
        "both": [" red circle", " red square", " blue star"],
        "color": [" blue"],
        "shape": [" circle", " square", " star"],
    }.items():
        found = recalls_of(scene, (name,), rng)
        assert [q.text for q in found] == expected
        assert {q.form for q in found} == {name}
    places = ["3 5", "6 7", "7 2"]  # column, then row, from 1
    assert [q.answer for q in recalls_of(scene, ("word",), rng)] == places


def test_a_way_to_call_shapes_that_there_is_not_is_refused(processor):
    with pytest.raises(UnknownNameError, match="color"):
        Lessons(replace(SMALL, names=("colour",)), processor, 1, (0, 3), pictures=False)


def test_a_name_to_recall_is_packed_bare_and_learns_its_place(processor):
    packer, rng = Packer(processor), np.random.default_rng(0)
    scene = Scene((CIRCLE, STAR))
    prefix, _ = packer.words("", scene, rng, in_cells=False)
    recalled = recalls_of(scene, ("word",), rng)
    ids, segments, positions, learn = packer.pack(prefix, [], recalled)
    said = [i for i, segment in enumerate(segments) if segment == 1]
    assert processor.tokenizer.decode([ids[i] for i in said]) == "\n redcircle 3 5"
    assert [learn[i] for i in said] == [0, 0, 1, 1]
    assert [positions[i] for i in said] == list(range(len(prefix), len(prefix) + 4))


def test_questions_see_the_words_of_shapes_and_the_scene_sees_all_of_itself():
    segments = torch.tensor([[0, 0, 0, 0, 1, 2]])
    seen = reading_mask(segments, torch.tensor([[-1, -1, 7, -1, -1, -1]]))[0, 0] == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 0, 1, 0, 1, 0],
        [1, 0, 1, 0, 0, 1],
    ]


@pytest.mark.parametrize(("share", "kind", "blocks"), [(0.0, "listed", 1), (1.0, "drawn", 2)])
def test_places_are_read_after_early_blocks_alone(share, kind, blocks, processor):
    """A gradient of the places' loss reaches those blocks and no others."""
    model = new_model(processor, 0)
    batch = Lessons(replace(SMALL, drawn=share), processor, 1, (0, 3), pictures=False)[0]
    batch = batch | {"forms": list(batch["forms"])}
    right = {form: [] for form in (*batch["forms"], f"{kind}/place")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, none = Reading(model, 1.0), Reading(model, 0.0)
        none.place.load_state_dict(one.place.state_dict())
    (one(batch, right) - none(batch, right)).backward()
    told = right[f"{kind}/place"]
    assert len(told) == 2 and 0 <= told[0] == told[1] <= 1
    reached = [
        bool(layer.self_attn.q_proj.weight.grad.abs().sum() > 1e-6)
        for layer in model.model.language_model.layers
    ]
    assert reached == [layer < blocks for layer in range(4)]


def test_only_names_what_is_trained():
    model = nn.ModuleDict({"left": nn.Linear(1, 1), "right": nn.Linear(1, 1)})
    only(model, "left")
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "left.weight",
        "left.bias",
    }


def test_a_packed_question_is_the_prompt_that_the_model_gets():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        (entry,) = entries(1)
        asked = model.inputs([entry.sample()], answers=[entry.question.answer])
        packer = Packer(model.processor)
        ids, segments, positions, learn = packer.pack(packer.picture(""), [entry.question])
    assert ids == asked.tensors["input_ids"][0].tolist()
    assert positions == asked.tensors["position_ids"][0].tolist()
    assert np.flatnonzero(learn).tolist() == asked.layouts[0].positions("assistant").tolist()
    assert set(segments) == {0, 1}


def test_a_batch_is_drawn_by_its_number(processor):
    one, other = (Lessons(SMALL, processor, 4, (0, 3), pictures=False) for _ in range(2))
    assert torch.equal(one[2]["input_ids"], other[2]["input_ids"])
    assert one[2]["forms"] == other[2]["forms"]
    assert one[3]["forms"] != one[2]["forms"]


def test_packed_questions_see_the_prefix_and_themselves():
    seen = packed_mask(torch.tensor([[0, 0, 1, 2, 2, -1]]))[0, 0] == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
