from pathlib import Path

from vlmlens import plots

MACHINERY = {"__init__", "arrays", "theme"}


def test_every_file_of_the_folder_is_in_the_table():
    files = {file.stem for file in Path(plots.__file__).parent.glob("*.py")} - MACHINERY
    assert set(plots.PLOTS) == files
    assert all(plots.PLOTS[name] is getattr(plots, name) for name in files)
