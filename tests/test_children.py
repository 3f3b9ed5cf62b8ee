"""What hangs fails in time, and says what it printed."""

import multiprocessing
import subprocess
import sys
import time

import pytest
from children import ended, line_of, python, ran, until
from conftest import TESTS

HANGS = "import time; print('so far', flush=True); time.sleep(600)"


def test_a_command_that_hangs_fails_with_what_it_printed():
    with pytest.raises(pytest.fail.Exception, match=r"no end within 2 s(.|\n)*so far"):
        python(HANGS, limit=2)
    with pytest.raises(AssertionError, match="what was wrong"):
        ran(sys.executable, "-c", "raise SystemExit('what was wrong')")


def test_a_process_that_hangs_is_killed():
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    with pytest.raises(AssertionError, match=r"no end within 0 s"):
        ended(process, limit=0.2)
    assert process.exitcode is not None


def test_what_never_comes_is_not_waited_for():
    with pytest.raises(pytest.fail.Exception, match="not within 0 s: rain"):
        until(lambda: False, "rain", limit=0.1)
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as silent:
        with pytest.raises(pytest.fail.Exception, match="nothing was printed"):
            line_of(silent, limit=0.2)
        silent.kill()


@pytest.mark.slow
def test_a_test_that_hangs_ends_its_process_and_says_where(tmp_path):
    """By what pytest is told in pyproject.toml, at another limit."""
    (tmp_path / "test_hangs.py").write_text("import time\ndef test_it():\n    time.sleep(600)\n")
    options = ["-c", TESTS.parent / "pyproject.toml", "-o", "addopts=", "-o", "filterwarnings="]
    words = ["-m", "pytest", "-p", "no:cacheprovider", *options, "-o", "faulthandler_timeout=1"]
    done = ran(sys.executable, *words, tmp_path / "test_hangs.py", status=1)
    assert 'test_hangs.py", line 3 in test_it' in done.stderr
