"""Every example runs, on the bundled model."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from children import ran

pytestmark = pytest.mark.pages

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
#: What a library tells its own users, and not those of vlmlens.
WARNED = re.compile(r"Warning|deprecated", re.IGNORECASE)


#: Runs the scripts that it is given, one after another, and says what each of them printed.
EACH = """
import contextlib, io, json, runpy, sys, traceback
told = {}
for path in sys.argv[1:]:
    sys.argv = [path]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_path(path, run_name="__main__")
        except BaseException:
            told[path] = traceback.format_exc(), ""
        else:
            told[path] = "", out.getvalue()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told():
    """What every example prints, in a process of their own: one, since importing takes longest."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = ran(sys.executable, "-c", EACH, *EXAMPLES, limit=600, env=environment)
    assert not WARNED.search(done.stderr), done.stderr
    return json.loads(done.stdout)


def test_there_are_some():
    assert {p.name for p in EXAMPLES} >= {"psi.py", "cmb.py", "rope.py", "handover.py"}


@pytest.mark.versions
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_an_example_runs_and_is_short(path, told):
    assert len(path.read_text().splitlines()) < 30
    fell, out = told[str(path)]
    assert not fell, fell
    assert out.strip()
