"""Every published set is read from its own files, asked in its own ways, and missed by name."""

import shutil

import pytest
from published_files import CV_ROW, PUBLISHED, lines, put

from vlmlens import datasets
from vlmlens.datasets.benchmarks import BENCHMARKS, recognised
from vlmlens.datasets.reading import InParquet
from vlmlens.errors import DataError
from vlmlens.graders import GRADERS
from vlmlens.sample import open_picture


@pytest.fixture(params=PUBLISHED)
def published(request, tmp_path):
    name, split, count, write = PUBLISHED[request.param]
    write(tmp_path)
    return BENCHMARKS[name], split, count, tmp_path


def test_every_set_has_a_fixture():
    assert {name for name, *_ in PUBLISHED.values()} == set(BENCHMARKS)


def test_its_questions_are_read(published):
    bench, split, count, folder = published
    samples = bench.load(folder, split)
    assert len(samples) == count
    assert len({sample.id for sample in samples}) == count
    for sample in samples:
        assert all(open_picture(image).size == (48, 32) for image in sample.images)
        assert sample.images or split == "tqa"
        assert sample.answer is None or not sample.choices or sample.answer in sample.choices


def test_every_way_to_ask_keeps_the_right_answer(published):
    bench, split, _, folder = published
    for prompt, form in bench.prompts.items():
        plain = [form.reworded(sample, split) for sample in bench.read(folder, split)]
        asked = bench.load(folder, split, prompt)
        for before, after in zip(plain, asked, strict=True):
            assert before.question in after.question or "{question}" not in form.text
            assert (before.id, before.images, before.groups) == (
                after.id,
                after.images,
                after.groups,
            )
            assert (after.answer is None) == (before.answer is None)
            if before.choices and before.answer is not None:
                place = before.choices.index(before.answer)
                assert after.choices.index(after.answer) == place
                assert all(text in after.question for text in after.options)


def test_right_answers_are_right_by_the_sets_own_rule_and_others_are_not(published):
    bench, split, _, folder = published
    rule = GRADERS.get(bench.grader)
    for prompt in bench.prompts:
        for sample in bench.load(folder, split, prompt):
            said = sample.references[0] if bench.grader == "vqa" and sample.references else None
            if rule is None or (said or sample.answer) is None:
                continue
            graded = rule(said or sample.answer, sample)
            assert graded.score == 1.0, (prompt, sample)
            assert rule("", sample).score == 0.0
            for other in set(sample.choices) - {sample.answer}:
                assert rule(other, sample).score == 0.0, (prompt, sample, other)


def test_what_is_not_there_is_named_with_its_origin(published):
    bench, split, _, folder = published
    files = [path for path in folder.rglob("*") if path.suffix in (".jpg", ".jpeg", ".png")]
    for path in files:
        path.unlink()
    if files:
        with pytest.raises(DataError, match="there is no picture"):
            bench.load(folder, split)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="there is no folder"):
        bench.load(folder, split)
    folder.mkdir()
    with pytest.raises(DataError, match="comes from") as error:
        bench.load(folder, split)
    assert bench.origin[:20] in str(error.value)


def test_a_split_or_a_form_that_is_not_there_is_named(published):
    bench, _, _, folder = published
    with pytest.raises(DataError, match="no split 'nonsense'"):
        bench.load(folder, "nonsense")
    with pytest.raises(DataError, match="no prompt form 'nonsense'"):
        bench.load(folder, prompt="nonsense")


def test_a_folder_tells_which_set_it_is(published):
    bench, _, _, folder = published
    assert not bench.marks or recognised(folder) in (bench, None)


@pytest.mark.parametrize("name", ["mmvp", "pope, original", "cv-bench, hub", "whatsup, a", "blink"])
def test_folders_as_published_are_recognised(name, tmp_path):
    bench, _, _, write = PUBLISHED[name]
    write(tmp_path)
    assert recognised(tmp_path) is BENCHMARKS[bench]


#: What is said to the model, as the sets' own code and their harnesses say it.
WORDS = {
    ("pope, original", "lmms-eval"): "Is there a snowboard in the image?\n"
    "Answer the question using a single word or phrase.",
    ("pope, original", "vlmevalkit"): "Is there a snowboard in the image?",
    ("pope, original", "paper"): "Is there a snowboard in the image? \n"
    'Please answer either "yes" or "no". For example, "yes".',
    ("mmvp", "cambrian"): "Are the wings open? Options:\nA. Open\nB. Closed\n"
    "Answer with the option's letter from the given choices directly.",
    ("mmvp", "lmms-eval"): "Are the wings open?\nA. Open\nB. Closed\n"
    "Answer with the option's letter from the given choices directly.",
    ("mmvp", "original"): "Are the wings open? (a) Open (b) Closed",
    ("gqa, original", "llava"): "Who is wearing the hat?\n"
    "Answer the question using a single word or phrase.",
    ("cv-bench, hub", "own"): CV_ROW["prompt"],
    ("cv-bench, hub", "lmms-eval"): "Note: You only need to respond with A, B, ... without "
    f"providing any additional information.\n\n{CV_ROW['prompt']}",
    ("cv-bench, hub", "paper"): f"{CV_ROW['prompt']} \nPlease answer based on the choices given "
    'above. For example, "A", "B", "C", "D", or "E".',
    ("vsr, random", "statement"): "Based on the image, is this statement true or false? "
    '"The person is inside the refrigerator." Answer:',
    ("blink, one", "own"): "Is the car beneath the cat?\nSelect from the following choices.\n"
    "(A) yes\n(B) no",
}


@pytest.mark.parametrize(("name", "prompt"), WORDS)
def test_the_words_are_those_of_the_set(name, prompt, tmp_path):
    bench, split, _, write = PUBLISHED[name]
    write(tmp_path)
    assert BENCHMARKS[bench].load(tmp_path, split, prompt)[0].question == WORDS[name, prompt]


@pytest.mark.parametrize("choices", ["3210", ["3", 2, "1", "0"], None], ids=str)
def test_choices_that_are_no_list_of_texts_are_no_choices(choices, tmp_path):
    """Letters of a text would be choices, too: "3210" has a third one."""
    put(tmp_path, CV_ROW["filename"])
    lines(tmp_path / "test_2d.jsonl", CV_ROW | {"choices": choices})
    with pytest.raises(DataError, match=r"choices is .* it should be a list of texts"):
        BENCHMARKS["cv-bench"].load(tmp_path, "2D")


def test_pairs_of_mmvp_are_neighbours_and_corrections_are_said(tmp_path):
    PUBLISHED["mmvp"][3](tmp_path)
    bench = BENCHMARKS["mmvp"]
    samples = bench.read(tmp_path, "original")
    assert [dict(s.groups)["pair"] for s in samples] == ["1", "1", "50", "50"]
    answers = [sample.answer for sample in samples]
    swapped = [sample.answer for sample in bench.read(tmp_path, "corrected")]
    assert swapped == [*answers[:2], answers[3], answers[2]] != answers
    (tmp_path / "Questions.csv").unlink()
    PUBLISHED["mmvp, copy"][3](tmp_path)
    for split, said in (("original", answers), ("corrected", swapped)):
        assert [sample.answer for sample in bench.read(tmp_path, split)] == said


def test_right_captions_come_in_any_place_and_the_same_one_each_time(tmp_path):
    PUBLISHED["whatsup, a"][3](tmp_path)
    bench = BENCHMARKS["whatsup"]
    samples, again = bench.read(tmp_path, "a"), bench.read(tmp_path, "a")
    assert samples == again
    assert len({sample.choices.index(sample.answer) for sample in samples}) > 1
    assert {dict(s.groups)["set"] for s in samples} == {"beer-bottle|armchair"}
    assert len({dict(s.groups)["pair"] for s in samples}) == 2


def test_pictures_of_a_parquet_file_stay_there_until_they_are_opened(tmp_path):
    PUBLISHED["pope, hub"][3](tmp_path)
    image = BENCHMARKS["pope"].load(tmp_path)[0].images[0]
    assert isinstance(image, InParquet)
    assert len(repr(image)) < 500


def test_a_set_is_asked_for_by_name_split_and_folder(tmp_path, monkeypatch):
    PUBLISHED["pope, original"][3](tmp_path / "pope")
    monkeypatch.setenv("VLMLENS_DATA", str(tmp_path))
    everything = datasets.load("pope")
    assert len(everything) == 6
    one = datasets.load(f"pope:random@{tmp_path / 'pope'}", prompt="vlmevalkit")
    assert [sample.question[-9:] for sample in one] == ["he image?"] * 2
    assert datasets.load("pope:random", samples=1, seed=0)[0] in everything
    with pytest.raises(DataError, match="asks its own questions"):
        datasets.load("pope", question="What?")
    with pytest.raises(DataError, match="a way to ask a published set"):
        datasets.load("shapes-2d", prompt="bare")
    with pytest.raises(DataError, match=r"there is no folder .*gqa: .*GQA comes from the hub"):
        datasets.load("gqa")
    with pytest.raises(DataError, match="published sets: pope, mmvp"):
        datasets.load("no-such-set")


def test_a_folder_as_published_says_how_to_ask_for_it(tmp_path):
    PUBLISHED["mmvp"][3](tmp_path)
    with pytest.raises(DataError, match=f"MMVP as it is published: .* mmvp@{tmp_path}"):
        datasets.load(tmp_path)
