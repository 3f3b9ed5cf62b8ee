import re
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vlmlens.datasets import check_pictures, load, read_parquet, shapes_2d, write_parquet
from vlmlens.datasets.reading import rows
from vlmlens.datasets.shapes import entries
from vlmlens.errors import DataError, ImageError
from vlmlens.sample import Sample

PAIR = {"question": "Where is it?", "answer": "top", "qa_category": "color_abs"}


def png(color="red"):
    data = BytesIO()
    Image.new("RGB", (8, 8), color).save(data, "PNG")
    return data.getvalue()


def published(tmp_path, *rows):
    """A file as others write it: no objects, no choices."""
    plain = {"entry_id": 7, "test_category": "2 shapes", "image_filename": png(), "qa_pairs": []}
    path = tmp_path / "set.parquet"
    pq.write_table(pa.Table.from_pylist([plain | row for row in rows]), path)
    return path


def test_what_is_written_is_read_back(tmp_path):
    written = [*shapes_2d(12, size=64), Sample("What is it?", (Image.new("RGB", (5, 4)),), id="x")]
    write_parquet(written, tmp_path / "set.parquet")
    back = read_parquet(tmp_path / "set.parquet")
    assert len(back) == len(written)
    for a, b in zip(written, back, strict=True):
        assert (a.question, a.answer, a.choices) == (b.question, b.answer, b.choices)
        assert (a.category, a.id) == (b.category, b.id)
        assert a.pictures() == b.pictures()


def test_columns_are_the_published_ones_and_objects_tell_the_shapes(tmp_path):
    (entry,) = entries(1)
    write_parquet([entry], tmp_path / "set.parquet")
    (row,) = pq.read_table(tmp_path / "set.parquet").to_pylist()
    assert list(row) == ["entry_id", "test_category", "image_filename", "objects", "qa_pairs"]
    assert row["image_filename"].keys() == {"bytes", "path"}
    assert row["qa_pairs"][0]["qa_category"] == "color_abs"
    for shape, written in zip(entry.scene.shapes, row["objects"], strict=True):
        assert written == vars(shape)


def test_the_datasets_library_sees_the_images(tmp_path):
    datasets = pytest.importorskip("datasets")
    write_parquet(entries(1), tmp_path / "set.parquet")
    (row,) = pq.read_table(tmp_path / "set.parquet").to_pylist()
    image = datasets.Image().decode_example(row["image_filename"])
    assert image.size == (224, 224)


def test_a_row_of_several_questions_is_several_samples_of_one_image(tmp_path):
    second = {"question": "And now?", "answer": "left", "qa_category": None}
    a, b = read_parquet(published(tmp_path, {"qa_pairs": [PAIR, second]}))
    assert a.images == b.images
    assert (a.id, b.id) == ("7-0", "7-1")
    assert (a.category, b.category) == ("color_abs", "2 shapes")
    assert (a.question, a.answer, a.choices) == ("Where is it?", "top", ())


def test_ids_stay_unique_where_entries_share_one(tmp_path):
    path = published(tmp_path, {"qa_pairs": [PAIR]}, {"qa_pairs": [PAIR]})
    assert [s.id for s in read_parquet(path)] == ["7@0", "7@1"]


@pytest.mark.parametrize(
    "image",
    [
        {"bytes": png(), "path": "elsewhere.png"},
        {"bytes": None, "path": "sub/there.png"},
        png(),
        "sub/there.png",
    ],
)
def test_images_are_structs_bytes_or_paths_beside_the_file(tmp_path, image):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "there.png").write_bytes(png())
    path = published(tmp_path, {"image_filename": image, "qa_pairs": [PAIR]})
    (sample,) = read_parquet(path)
    (picture,) = sample.pictures()
    assert picture.getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("gone.png", "row 0: there is no image .*gone.png"),
        ({"bytes": None, "path": None}, "row 0: .*neither bytes nor a path"),
    ],
)
def test_an_image_that_is_not_there_is_named(tmp_path, image, words):
    path = published(tmp_path, {"image_filename": image, "qa_pairs": [PAIR]})
    with pytest.raises(ImageError, match=words):
        read_parquet(path)


def test_damaged_bytes_are_named_when_the_image_is_opened(tmp_path):
    damaged = {"image_filename": png()[:40], "qa_pairs": [PAIR]}
    (sample,) = read_parquet(published(tmp_path, damaged))
    with pytest.raises(ImageError, match=r"set\.parquet, row 0"):
        sample.pictures()


def test_files_that_cannot_serve_are_named(tmp_path):
    path = tmp_path / "some.parquet"
    here = re.escape(str(path))
    with pytest.raises(DataError, match=f"{here}: there is no such file"):
        read_parquet(path)
    with pytest.raises(DataError, match="it is a folder"):
        read_parquet(tmp_path)
    for junk in ("", "version https://git-lfs.github.com/spec/v1"):
        path.write_text(junk)
        with pytest.raises(DataError, match=f"{here} is no readable parquet.*git lfs pull"):
            read_parquet(path)
    pq.write_table(pa.table({"entry_id": [1], "image": ["a"]}), path)
    with pytest.raises(
        DataError,
        match=f"{here} has no column test_category, image_filename, qa_pairs; "
        "there is: entry_id, image",
    ):
        read_parquet(path)


def test_a_file_without_questions_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no questions: it has 1 rows"):
        read_parquet(published(tmp_path, {"qa_pairs": None}))
    with pytest.raises(DataError, match=r"row 0: qa_pairs\[0\] has no question"):
        read_parquet(published(tmp_path, {"qa_pairs": [{"answer": "top"}]}))


@pytest.mark.parametrize("pairs", [3.5, "Why?", True])
def test_questions_of_another_type_are_refused(tmp_path, pairs):
    path = published(tmp_path, {"qa_pairs": pairs})
    for read in (read_parquet, load):
        with pytest.raises(DataError, match=r"row 0: qa_pairs is .*; it should be a list"):
            read(path)


@pytest.mark.parametrize("choices", ["yesno", ["yes"]])
def test_choices_are_several_texts(tmp_path, choices):
    with pytest.raises(DataError, match=r"row 0: choices is .*a single one"):
        read_parquet(published(tmp_path, {"qa_pairs": [PAIR | {"choices": choices}]}))


def test_a_part_of_a_large_file_is_read_without_the_rest(tmp_path):
    """Of 64 images of a megabyte in one group of rows, a few are in memory at once."""
    path = tmp_path / "large.parquet"
    noise = np.random.default_rng(0).bytes(2**20)
    columns = {
        "entry_id": list(range(64)),
        "test_category": ["x"] * 64,
        "image_filename": [number.to_bytes() + noise for number in range(64)],
        "qa_pairs": [[PAIR]] * 64,
    }
    pq.write_table(pa.table(columns), path, compression="none", write_batch_size=4)
    before = pa.default_memory_pool()
    whole = read_parquet(path)
    assert [sample.images[0].data[0] for sample in whole] == list(range(64))
    del whole
    peak = pa.proxy_memory_pool(before)
    used = pa.default_memory_pool()
    pa.set_memory_pool(peak)
    try:
        few = read_parquet(path, samples=3, seed=1)
    finally:
        pa.set_memory_pool(used)
    loaded = load(path, samples=3, seed=1, check=False)
    assert [s.id for s in few] == [s.id for s in loaded]
    assert [sample.images[0].data[0] for sample in few] == [int(s.id) for s in few]
    assert peak.max_memory() < 48 * 2**20  # FEW rows at once, and what their pages need


def test_a_damaged_picture_is_named_before_a_model_is_opened(tmp_path):
    path = tmp_path / "set.parquet"
    write_parquet(shapes_2d(3, size=32), path)
    table = pq.read_table(path)
    cells = table["image_filename"].to_pylist()
    cells[1]["bytes"] = cells[1]["bytes"][:60]
    kind = table.schema.field("image_filename").type
    column = table.schema.get_field_index("image_filename")
    pq.write_table(table.set_column(column, "image_filename", pa.array(cells, kind)), path)
    with pytest.raises(ImageError, match=r"set\.parquet, row 1"):
        load(path)
    samples = load(path, check=False)
    check_pictures(samples, most=1)
    with pytest.raises(ImageError, match="row 1"):
        check_pictures(samples)
    row = list(rows(path))[1]
    for picture in (row["image_filename"], str(tmp_path / "gone.png")):
        with pytest.raises(ImageError, match="sample 'seven'"):
            check_pictures([Sample("What?", picture, id="seven")])


def test_what_cannot_be_written_is_refused(tmp_path):
    path = tmp_path / "set.parquet"
    with pytest.raises(DataError, match="no samples"):
        write_parquet([], path)
    with pytest.raises(DataError, match="sample x has 0 images"):
        write_parquet([Sample("Why?", id="x")], path)
    with pytest.raises(DataError, match="no folder"):
        write_parquet(entries(1), tmp_path / "none" / "set.parquet")
    assert not path.exists()


def test_load_draws_a_subset_by_seed_and_keeps_the_order(tmp_path):
    path = tmp_path / "set.parquet"
    write_parquet(shapes_2d(12, size=32), path)
    every = [s.id for s in load(str(path))]
    some = [s.id for s in load(str(path), samples=5, seed=1)]
    assert len(some) == 5
    assert some == [name for name in every if name in some]
    assert some == [s.id for s in load(path, samples=5, seed=1)]
    assert some != [s.id for s in load(path, samples=5, seed=2)]
    assert every == [s.id for s in load(path, samples=99)]
    with pytest.raises(DataError, match="negative"):
        load(path, samples=5, seed=-1)
