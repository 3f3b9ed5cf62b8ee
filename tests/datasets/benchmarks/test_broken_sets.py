"""Published files that are not as published: read all the same or refused, never a crash."""

import codecs
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from published_files import PUBLISHED, put, whole

from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.errors import DataError, VLMLensError

#: What a cell may be instead.
OTHERS = (None, [], {}, 3.5, "", "zzz", [None], float("nan"))


def written(name, folder):
    key, split, _, write = PUBLISHED[name]
    write(folder)
    return BENCHMARKS[key], split


def texts(folder):
    return [path for path in folder.rglob("*") if path.suffix in (".json", ".jsonl", ".csv")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_any_encoding_that_says_so_is_read(name, encoding, tmp_path):
    bench, split = written(name, tmp_path)
    before = bench.load(tmp_path, split)
    for path in texts(tmp_path):
        path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    after = bench.load(tmp_path, split)
    assert [s.question for s in after] == [s.question for s in before]
    assert [s.answer for s in after] == [s.answer for s in before]


@pytest.mark.parametrize("fault", ["cut", "latin-1", "unmarked UTF-16", "empty"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_files_that_cannot_be_read_are_refused(name, fault, tmp_path):
    bench, split = written(name, tmp_path)
    files = texts(tmp_path) or list(tmp_path.rglob("*.parquet"))
    for path in files:
        data = path.read_bytes()
        change = {
            "cut": data[:-12],
            # Where a Parquet file ends in another letter, it is none.
            "latin-1": (data[:-1] if path.suffix == ".parquet" else data) + b"\xf9",
            "unmarked UTF-16": codecs.encode(data.decode("latin-1"), "utf-16-le"),
            "empty": b"",
        }
        path.write_bytes(change[fault])
    with pytest.raises(DataError):
        bench.load(tmp_path, split)


def changes(rows):
    """The rows with one cell of the first one taken away, or of another type."""
    for key in rows[0]:
        yield [{k: v for k, v in rows[0].items() if k != key}, *rows[1:]]
        for other in OTHERS:
            yield [rows[0] | {key: other}, *rows[1:]]


def attempt(bench, split, folder):
    try:
        for sample in bench.load(folder, split):
            assert isinstance(sample.question, str)
    except VLMLensError as error:
        assert str(error)
        return 1
    return 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_cell_of_another_type_is_no_crash(name, tmp_path):
    bench, split = written(name, tmp_path)
    refused = tried = 0
    for path in texts(tmp_path):
        if path.suffix == ".csv":
            continue
        text = path.read_text(encoding="utf-8")
        try:
            whole = json.loads(text)
        except ValueError:
            whole = [json.loads(line) for line in text.splitlines()]
        rows = whole if isinstance(whole, list) else [whole]
        if not isinstance(rows[0], dict):
            continue
        for changed in changes(rows):
            path.write_text(json.dumps(changed if isinstance(whole, list) else changed[0]))
            refused += attempt(bench, split, tmp_path)
            tried += 1
        path.write_text(text, encoding="utf-8")
    for path in tmp_path.rglob("*.parquet"):
        before = pq.read_table(path)
        for column in before.column_names:
            empty = pa.nulls(len(before), before.schema.field(column).type)
            place = before.column_names.index(column)
            for table in (
                before.drop_columns([column]),
                before.set_column(place, before.schema.field(column), empty),
                before.set_column(place, column, pa.array([3.5] * len(before))),
            ):
                pq.write_table(table, path)
                refused += attempt(bench, split, tmp_path)
                tried += 1
        pq.write_table(before, path)
    assert refused or not tried or name == "whatsup, coco"  # whose file holds lists
    assert len(bench.load(tmp_path, split)) == PUBLISHED[name][2]


#: Faults of a row that leave it readable: a set's file, a change of its rows, and what is said.
FAULTY = {
    "a row twice": ("pope, original", lambda r: [r[0], r[0]], "is there twice"),
    "nothing asked": ("pope, original", {"text": " "}, "asks nothing"),
    "no statement": ("vsr, random", {"caption": ""}, "asks nothing"),
    "a label true": ("vsr, random", {"label": True}, "the label is True"),
    "an empty choice": ("cv-bench, lines", {"choices": ["desk", ""]}, "has an empty choice"),
    "two right": ("cv-bench, lines", {"choices": ["a", "a"]}, "twice among its"),
    "choices in a text": ("emb-spatial, original", {"answer_options": "abcd"}, "a list of texts"),
    "a place that is true": ("emb-spatial, original", {"answer": True}, "no place among"),
    "three captions": ("whatsup, a", {"caption_options": [*"abc"]}, "has 3 captions"),
    "a caption twice": ("whatsup, a", {"caption_options": [*"aabc"]}, "twice among its"),
    "a name for a number": ("whatsup, coco", lambda r: [["x", "a", "b"]], "should be a number"),
    "half a pair": ("spatial-bench, existence", lambda r: r[:1], "these are pairs"),
    "half a character": ("spatial-mm", {"question": "\ud800?\nA. a\nB. right"}, "half of a char"),
}
FILES = {
    "pope, original": "coco_pope_random.json",
    "vsr, random": "test.jsonl",
    "cv-bench, lines": "test_3d.jsonl",
    "emb-spatial, original": "embspatial_bench.json",
    "whatsup, a": "controlled_images_dataset.json",
    "whatsup, coco": "coco_qa_one_obj.json",
    "spatial-bench, existence": "existence.json",
    "spatial-mm": "spatial_mm_one_obj.json",
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_row_that_can_be_read_and_not_asked_is_named(fault, tmp_path):
    name, change, told = FAULTY[fault]
    bench, split = written(name, tmp_path)
    path = tmp_path / FILES[name]
    text = path.read_text()
    lined = path.suffix == ".jsonl" or "pope" in name
    rows = [json.loads(line) for line in text.splitlines()] if lined else json.loads(text)
    rows: Any = change(rows) if callable(change) else [rows[0] | change, *rows[1:]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if lined else json.dumps(rows))
    with pytest.raises(VLMLensError, match=told):
        bench.load(tmp_path, split)


MMVP = "Index,Question,Options,Correct Answer\n"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("1,Q?,(a) x (b) y,(a)\n", "has the row 1 and not the other"),
        ("1,Q?,(a) x (b) y,(a)\n1,Q?,(a) x (b) y,(b)\n", "has the number 1 of another row"),
        ('1,"Q?,(a) x (b) y,(a)\n', "not as MMVP is published .*unexpected end of data"),
        ("²,Q?,(a) x (b) y,(a)\n", "line 2 is not: a number"),
        ("1,Q?,(a) x (b) y,(a)\n2,Q?,(a) x (b) y,(a)\n", "both rows of the pair of 1 .* 'x'"),
        ("1,Q?,(a) x (b) y,(a)\n2,Q?,(a) y (b) x,(b)\n", "both rows of the pair of 1 .* 'x'"),
    ],
)
def test_pairs_of_mmvp_are_whole(rows, told, tmp_path):
    bench, split = written("mmvp", tmp_path)
    (tmp_path / "Questions.csv").write_text(MMVP + rows)
    with pytest.raises(DataError, match=told):
        bench.load(tmp_path, split)


def coco(captions, images):
    return {
        "annotations": [{"image_id": n, "id": n, "caption": "A cat."} for n in captions],
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in images],
    }


def vqa(questions, annotations):
    asked = [{"image_id": 1, "question": "What?", "question_id": n} for n in questions]
    told = [{"question_id": n, "answers": [], "answer_type": "other"} for n in annotations]
    return {"questions": asked}, {"annotations": told}


@pytest.mark.parametrize(
    ("captions", "images", "told"),
    [
        ([1, 2, 3], [1], "captions of 2, 3, which are none of its images"),
        ([1], [1, 2], "image 1 has no caption"),
        ([1], [1, 1], "image 1 has the id 1 of .*image 0"),
    ],
)
def test_captions_are_of_the_images_that_are_there(captions, images, told, tmp_path):
    put(tmp_path, *(f"val2017/{n}.jpg" for n in (1, 2)))
    whole(tmp_path / "captions_val2017.json", coco(captions, images))
    with pytest.raises(DataError, match=told):
        BENCHMARKS["coco-captions"].load(tmp_path)


@pytest.mark.parametrize(
    ("questions", "annotations", "told"),
    [
        ([1, 2], [1], "question 1: the annotations hold no question 2"),
        ([1], [1, 1], "answer 1 has the question_id 1 of .*answer 0"),
        ([1, 1], [1], "1 is there twice"),
    ],
)
def test_annotations_are_of_the_questions_that_are_asked(questions, annotations, told, tmp_path):
    put(tmp_path, "val2014/COCO_val2014_000000000001.jpg")
    asked, answers = vqa(questions, annotations)
    whole(tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json", asked)
    whole(tmp_path / "v2_mscoco_val2014_annotations.json", answers)
    with pytest.raises(DataError, match=told):
        BENCHMARKS["vqa-v2"].load(tmp_path)
