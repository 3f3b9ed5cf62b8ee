"""How the code is written: sizes of files and functions, and what reaches into what."""

import ast
from pathlib import Path

import vlmlens

HOME = Path(vlmlens.__file__).parent
SOURCES = {
    path.relative_to(HOME).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(HOME.rglob("*.py"))
}
#: Lines of a file, all of them; lines of a function, its docstring aside.
LONGEST_FILE, LONGEST_FUNCTION = 300, 60


def functions():
    """File, and every function in it."""
    for name, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def lines(function):
    """From ``def`` to the end, without the docstring."""
    whole = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return whole
    docstring = function.body[0]
    return whole - (docstring.end_lineno - docstring.lineno + 1)


def test_no_file_is_long():
    lengths = {name: len(source.splitlines()) for name, source in SOURCES.items()}
    assert "model/hooked.py" in lengths
    long = {name: length for name, length in lengths.items() if length > LONGEST_FILE}
    assert not long, f"each holds two ideas: {long}"


def test_no_function_is_long():
    lengths = {(name, function.name): lines(function) for name, function in functions()}
    assert ("model/hooked.py", "generate") in lengths
    long = {each: length for each, length in lengths.items() if length > LONGEST_FUNCTION}
    assert not long, long


#: Names of torch's and transformers' own that a file of ours uses, too.
TORCHS = {"_version", "_init_weights"}


def privates(tree):
    """Names with an underscore that a file makes: functions, classes, attributes of itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr if ast.unparse(node.value) in ("self", "cls") else ""


def reached(tree):
    """Names with an underscore that a file takes of something other than itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            if ast.unparse(node.value) not in ("self", "cls", "super()"):
                yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def hidden(names):
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def test_nobody_reaches_for_what_is_private_to_another_file():
    trees = {name: ast.parse(source) for name, source in SOURCES.items()}
    made = {name: hidden(privates(tree)) for name, tree in trees.items()}
    assert "_levels" in made["model/doors/contexts.py"]
    for name, tree in trees.items():
        others = set().union(*(made[other] for other in made if other != name)) - TORCHS
        assert not (found := (hidden(reached(tree)) - made[name]) & others), f"{name}: {found}"


# What waits.

TESTS = Path(__file__).parent
#: Calls that wait until something ends, and the number of the argument that is their limit.
WAITS = {"wait": 0, "join": 0, "communicate": 1, "result": 0}
RUNS = ("subprocess.run", "subprocess.check_output", "subprocess.check_call", "subprocess.call")


def waits_for_ever(source):
    """Calls that wait for a process or a thread for as long as it takes."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        limited = any(word.arg == "timeout" for word in node.keywords)
        at = WAITS.get(node.func.attr)
        endless = at is not None and len(node.args) <= at and not node.keywords
        if not limited and (endless or ast.unparse(node.func) in RUNS):
            yield node.lineno


def test_no_test_waits_for_ever():
    assert list(waits_for_ever("t.join(); p.wait(); p.communicate(x)\nsubprocess.run([])")) == [
        *(1, 1, 1),
        2,
    ]
    assert not list(waits_for_ever("''.join(x); t.join(5); p.wait(timeout=2); e.wait(60)"))
    files = [path for path in TESTS.rglob("*.py") if "benchmarks" not in path.parts]
    found = {path.name: list(waits_for_ever(path.read_text(encoding="utf-8"))) for path in files}
    assert found["children.py"] == []
    assert not (endless := {name: lines for name, lines in found.items() if lines}), endless
