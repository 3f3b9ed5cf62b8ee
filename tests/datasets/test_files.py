"""A folder is read as what it is: which files are pictures, which ask, which are left out."""

import importlib.machinery
import logging
import os
import sys
import types

import pytest
from children import python, ran
from PIL import Image, ImageFile

from vlmlens.datasets import image_folder, left_out, load
from vlmlens.errors import DataError, ImageError
from vlmlens.evaluation import records

RED = Image.new("RGB", (8, 6), "red")

#: Names that data sets publish their questions under.
PUBLISHED = (
    "Questions.csv",
    "question.csv",
    "questions.tsv",
    "coco_pope_random.json",
    "testdev_balanced_questions.json",
    "v2_OpenEnded_mscoco_val2014_questions.json",
    "test.jsonl",
    "controlled_images_dataset.json",
    "metadata.jsonl",
    "data/train.parquet",
    "sub/questions.csv",
    "Questions.xlsx",
    "questions.txt",
    "questions.yml",
    "questions.csv.gz",
    "val.json.zip",
    "answers.pkl",
    "annotations.xml",
    "captions.txt",
)

#: Of these, what is read as it is: the only table of a folder, in the folder itself.
READ = ("Questions.csv", "question.csv", "questions.tsv")


def ids(folder, **options):
    return [sample.id for sample in image_folder(folder, **options)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_file_that_may_hold_questions_is_never_passed_over(tmp_path, name, caplog):
    RED.save(tmp_path / "a.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("image,question,answer\na.png,What?,red\n")
    for read in (image_folder, load):
        if name in READ:
            (sample,) = read(tmp_path)
            assert (sample.question, sample.answer) == ("What?", "red")
        else:
            with pytest.raises(DataError, match=f"{name}.*questions.csv or .*--question"):
                read(tmp_path)
        (sample,) = read(tmp_path, question="What is it?")
        assert (sample.question, sample.answer) == ("What is it?", None)
        assert name in caplog.text
    assert left_out(tmp_path, "What is it?") == [name]
    if name in READ:
        assert left_out(tmp_path) == []


def test_a_folder_below_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    RED.save(tmp_path / "mine" / "a.png")
    assert ids("~/mine") == [sample.id for sample in load("~/mine")] == ["a.png"]
    assert left_out("~/mine") == []
    with pytest.raises(DataError, match="no data set '~/yours'"):
        load("~/yours")


def test_what_is_left_out_says_what_would_open_it(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("vlmlens.picture.find_spec", lambda name: None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 99)
    with pytest.raises(DataError, match="pip install pillow-heif"):
        image_folder(tmp_path)
    RED.save(tmp_path / "b.png")
    assert ids(tmp_path) == ["b.png"]
    assert "a.heic; .heic is opened after pip install pillow-heif" in caplog.text


def test_a_link_to_nowhere_and_another_case_are_named(tmp_path):
    RED.save(tmp_path / "a.png")
    (tmp_path / "questions.csv").write_text("image,question,answer\nA.PNG,What?,red\n")
    with pytest.raises(ImageError, match=r"A\.PNG; did you mean a\.png"):
        image_folder(tmp_path)
    (tmp_path / "questions.csv").unlink()
    (tmp_path / "b.png").symlink_to("gone.png")
    with pytest.raises(ImageError, match=r"b\.png is a link to gone\.png, which is not there"):
        image_folder(tmp_path)


def test_results_that_were_written_into_the_folder_are_no_questions(tmp_path):
    RED.save(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    for name in ("meta.json", "results.nc"):
        (tmp_path / "out" / name).write_text("{}")
    assert ids(tmp_path) == ["a.png"]


def test_a_question_is_refused_where_it_would_be_asked_of_nothing(tmp_path):
    RED.save(tmp_path / "a.png")
    (tmp_path / "questions.csv").write_text("image,question,answer\na.png,What?,red\n")
    for read in (image_folder, load):
        with pytest.raises(DataError, match=r"questions\.csv asks its own .*'Why\?'"):
            read(tmp_path, question="Why?")
    with pytest.raises(DataError, match="shapes-2d asks its own"):
        load("shapes-2d", samples=3, question="Why?")
    with pytest.raises(DataError, match="the question is empty"):
        image_folder(tmp_path, question=" ")


def test_pictures_are_known_by_what_they_hold(tmp_path, caplog):
    for name, kind in {
        "a.jfif": "JPEG",
        "b.JPEG": "JPEG",
        "c": "PNG",
        "d.jp2": "JPEG2000",
        "e.ppm": "PPM",
        "f.dat": "WEBP",
        "g.bin": "GIF",
        "h.avif": "AVIF",
    }.items():
        RED.save(tmp_path / name, format=kind)
    (tmp_path / "i.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 99)
    (tmp_path / "j.txt").write_text("P1 is what a pixmap begins with; this is none")
    (tmp_path / "k.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / ".hidden.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="vlmlens"):
        samples = image_folder(tmp_path)
    assert [s.id[0] for s in samples] == list("abcdefgh")
    assert all(s.pictures()[0].size == (8, 6) for s in samples)
    assert left_out(tmp_path) == ["i.heic", "j.txt", "k.h5"]
    assert "left out, being no images that Pillow opens here (3): " in caplog.text
    assert "i.heic, j.txt, k.h5" in caplog.text


def test_heif_is_read_where_its_plugin_is_installed(tmp_path, monkeypatch):
    """pillow-heif is not among our dependencies: a stand-in registers what it would."""
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 99)
    opened = dict(Image.OPEN)

    class Heif(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._size, self._mode = (8, 6), "RGB"

        def load(self):
            self.im = RED.im
            return super().load()

    def register():
        Image.register_open("HEIF", Heif, lambda prefix: prefix[4:12] == b"ftypheic")

    plugin = types.ModuleType("pillow_heif")
    plugin.__spec__ = importlib.machinery.ModuleSpec("pillow_heif", None)
    plugin.register_heif_opener = register
    with pytest.raises(DataError, match="holds no images"):
        image_folder(tmp_path)
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    monkeypatch.setattr(Image, "OPEN", opened)
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    (sample,) = image_folder(tmp_path)
    assert sample.pictures()[0].getpixel((3, 3)) == (255, 0, 0)


def test_linked_folders_are_followed_and_each_is_read_once(tmp_path):
    here, far = tmp_path / "here", tmp_path / "far"
    for folder in (here / "own", far / "deep"):
        folder.mkdir(parents=True)
        RED.save(folder / "a.png")
    (here / "folder.png").mkdir()  # a folder by a picture's name is still a folder
    RED.save(here / "folder.png" / "b.png")
    (here / "again").symlink_to("own")
    (here / "linked").symlink_to(far)
    (far / "loop").symlink_to(here)
    (here / "self").symlink_to("self")
    assert ids(here) == ["folder.png/b.png", "linked/deep/a.png", "own/a.png"]
    assert left_out(here) == ["self"]


def test_every_picture_that_cannot_be_read_is_named_at_once(tmp_path):
    RED.resize((300, 300)).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "gone.png").symlink_to("nowhere")
    Image.new("F", (4, 4), 300.0).save(tmp_path / "range.tif")
    with pytest.raises(ImageError, match="4 images cannot be read") as raised:
        image_folder(tmp_path)
    for words in (r"cut.jpg is no readable", "empty.png is empty", "gone.png", "range.tif"):
        assert words in str(raised.value)
    assert len(image_folder(tmp_path, check=False)) == 5
    with pytest.raises(ImageError, match="4 images"):
        load(tmp_path)
    assert len(load(tmp_path, check=False)) == 5


def test_only_the_pictures_that_are_drawn_are_checked(tmp_path):
    for name in "abcdefgh":
        RED.save(tmp_path / f"{name}.png")
    drawn = {sample.id for sample in load(tmp_path, samples=3)}
    other = next(name for name in os.listdir(tmp_path) if name not in drawn)  # noqa: PTH208
    (tmp_path / other).write_bytes(b"")
    assert {sample.id for sample in load(tmp_path, samples=3)} == drawn


def test_a_file_name_of_any_bytes_has_an_id_that_can_be_written(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    RED.save(tmp_path / name)
    (sample,) = image_folder(tmp_path)
    assert sample.id == r"caf\xe9.png"
    assert sample.id.encode()
    assert sample.key
    assert sample.pictures()[0].size == (8, 6)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ImageError, match=r"caf\\xe9\.png is empty"):
        image_folder(tmp_path)


@pytest.mark.slow
def test_a_table_in_a_folder_of_any_bytes_is_asked_and_its_results_are_written(tmp_path):
    here = tmp_path / os.fsdecode(b"caf\xe9")
    here.mkdir()
    RED.save(here / "0.png")
    (here / "asked.csv").write_text("question,answer,image\nWhat color is it?,red,0.png\n")
    (sample,) = load(str(here / "asked.csv"))
    assert sample.source.encode().endswith(rb"caf\xe9/asked.csv, line 2")
    given = ["--data", here / "asked.csv", "--out", here / "out"]
    ran(sys.executable, "-m", "vlmlens", "evaluate", "shapes-base", *given, errors="replace")
    items, _ = records.read(here / "out")
    assert set(items["data"]) == {
        os.fsencode(here).decode("utf-8", "backslashreplace") + "/asked.csv"
    }


def test_a_folder_is_read_before_torch_is_imported(tmp_path):
    """What is wrong with the data is said at once, and not after ten seconds of imports."""
    code = (
        "import sys\nfrom vlmlens import cli\nsys.argv[1:] = ['diagnose', '--data', 'nowhere']\n"
        "try:\n    cli.run()\nfinally:\n    print('torch' in sys.modules)"
    )
    done = python(code, status=2, cwd=tmp_path)
    assert done.stdout.strip() == "False"
    assert "no data set 'nowhere'" in done.stderr
