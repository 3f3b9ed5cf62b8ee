"""Hashes of pictures' files are kept beside them, and count while the files are what they were."""

import os
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import picture

from vlmlens import datasets, identity
from vlmlens.identity import pictures, remembered


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Twenty pictures, written a while ago; and nothing is known of any."""
    monkeypatch.setattr(pictures, "KNOWN", known := {})
    monkeypatch.setattr(remembered, "KNOWN", known)
    made = [str(tmp_path / f"{n}.png") for n in range(20)]
    for n, path in enumerate(made):
        picture(n, (8, 8)).save(path)
    time.sleep(0.15)
    return made


@pytest.fixture
def opened(monkeypatch):
    """How many pictures were decoded."""
    count, usual = [], pictures.open_picture
    monkeypatch.setattr(pictures, "open_picture", lambda path: (count.append(path), usual(path))[1])
    return count


def test_a_set_is_decoded_once(files, opened):
    before = list(map(identity.picture, files))
    identity.keep(files)
    remembered.KNOWN.clear()
    opened.clear()
    identity.recall(files)
    assert list(map(identity.picture, files)) == before
    assert not opened


def test_a_picture_that_was_changed_is_decoded_again(files, opened):
    before = list(map(identity.picture, files))
    identity.keep(files)
    remembered.KNOWN.clear()
    opened.clear()
    state = Path(files[3]).stat()
    picture(99, (8, 8)).save(files[3])
    os.utime(files[3], ns=(state.st_atime_ns, state.st_mtime_ns))
    time.sleep(0.15)
    identity.recall(files)
    after = list(map(identity.picture, files))
    assert opened == [files[3]]
    assert [n for n in range(20) if before[n] != after[n]] == [3]


@pytest.mark.parametrize("damage", ["cut", "another version"])
def test_notes_that_do_not_hold_are_not_believed(files, opened, damage):
    list(map(identity.picture, files))
    identity.keep(files)
    note = Path(files[0]).with_name(remembered.NAME)
    if damage == "cut":
        note.write_bytes(note.read_bytes()[:-20])
    else:
        table = pq.read_table(note)
        pq.write_table(table.replace_schema_metadata({b"made": b"Pillow 1"}), note)
    remembered.KNOWN.clear()
    opened.clear()
    identity.recall(files)
    list(map(identity.picture, files))
    assert len(opened) == 20


def test_few_pictures_are_no_reason_to_write_beside_them(files):
    list(map(identity.picture, files[:3]))
    identity.keep(files[:3])
    assert not Path(files[0]).with_name(remembered.NAME).exists()


def test_a_folder_of_images_does_not_take_the_notes_for_its_own(files):
    list(map(identity.picture, files))
    identity.keep(files)
    folder = Path(files[0]).parent
    assert len(datasets.load(str(folder))) == 20
    assert datasets.left_out(str(folder)) == []
