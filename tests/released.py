"""What ``make release`` asks of an empty environment: ``python tests/released.py FOLDER STAGE``.

It runs on the installed wheels alone, so that it imports nothing else of the tests.
"""

import re
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path

LIMIT = 12e6
BESIDE = "shapes-both"


def wheels(folder: Path) -> None:
    """The two wheels: how large they are, and what has to be in each."""
    base, models = (next(folder.glob(f"{name}-*.whl")) for name in ("vlmlens", "vlmlens_models"))
    for wheel in (base, models):
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith("licenses/LICENSE") for name in names), names
    assert base.stat().st_size < LIMIT, f"{base.name} is to stay under {LIMIT / 1e6:.0f} MB"
    names = set(zipfile.ZipFile(base).namelist())
    assert {"vlmlens/py.typed", "vlmlens/zoo/weights/shapes-base/model.safetensors"} <= names
    assert not any(f"/{BESIDE}/" in name for name in names)
    assert f"vlmlens_models/{BESIDE}/model.safetensors" in zipfile.ZipFile(models).namelist()


def alone() -> None:
    """vlmlens without vlmlens-models: what is missing is named, with what brings it."""
    import vlmlens as vl
    from vlmlens.errors import UnfetchedModelError

    assert "site-packages" in vl.__file__, vl.__file__
    told = _says("--version")
    assert told.strip() == f"vlmlens {distribution('vlmlens').version}", told
    assert f"{BESIDE} (pip install vlmlens-models)" in _says("models")
    try:
        vl.HookedVLM.from_pretrained(BESIDE)
    except UnfetchedModelError as error:
        assert "pip install vlmlens-models" in str(error), error
    else:
        raise AssertionError(f"{BESIDE} opened")
    for line in distribution("vlmlens").requires or ():
        assert not re.match("pytest|ruff", line) or "extra ==" in line, line


def beside() -> None:
    """And with it."""
    import vlmlens as vl

    with vl.HookedVLM.from_pretrained(BESIDE) as model:
        inputs = model.inputs(vl.datasets.shapes_2d(1))
        print(BESIDE, "says", *model.generate(inputs, max_new_tokens=2).texts)
    assert BESIDE in _says("models").splitlines()


def _says(*words: str) -> str:
    command = Path(sysconfig.get_path("scripts")) / "vlmlens"
    told = subprocess.run(
        [command, *words], check=True, text=True, capture_output=True, timeout=240
    )
    return told.stdout


if __name__ == "__main__":
    given, stage = sys.argv[1:]
    {"wheels": lambda: wheels(Path(given)), "alone": alone, "beside": beside}[stage]()
