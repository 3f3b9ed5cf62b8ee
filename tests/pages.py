"""Code blocks of the documentation: which there are, and what can be said of those not run.

A page's Python blocks run in its order, in one namespace, in an empty folder; what a page begins
with is on the page. A block that the tests cannot run says so in its first line.
"""

import ast
import builtins
import importlib
import inspect
import linecache
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[1]
#: The first line of a block that is compiled and looked up, but not run; the reason comes after it.
NOT_RUN = "# Not run by the tests: "
FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    page: Path
    line: int
    language: str
    code: str

    @property
    def runs(self) -> bool:
        return not self.code.startswith(NOT_RUN)

    def compiled(self) -> Any:
        """The code, whose tracebacks have the page's own lines, and whose source can be found."""
        name = f"<{self.page.relative_to(HOME)}, line {self.line}>"
        text = "\n" * self.line + self.code
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        return compile(text, name, "exec")


def pages() -> list[Path]:
    """What users read that may hold code: not the templates, which pages are made from."""
    docs = [page for page in (HOME / "docs").rglob("*.md") if page.parent.name != "study"]
    cards = (HOME / "vlmlens/zoo/weights").rglob("*.md")
    return [HOME / "README.md", *sorted(docs), *sorted(cards)]


def blocks(page: Path, *languages: str) -> list[Block]:
    """A page's blocks in these languages."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: found.start(3)].count("\n"), found[2], found[3])
        for found in FENCE.finditer(text)
        if found[2] in languages
    ]


class Unknown:
    """A value that nothing is known of."""


UNKNOWN = Unknown()


class Faults(ast.NodeVisitor):
    """What a block asks of the library that is not there, without running it.

    Names have to be made on the page; attributes of modules and classes, and of what a class
    makes, have to exist; arguments have to fit.
    """

    def __init__(self, code: str, names: dict[str, Any]) -> None:
        self.tree = ast.parse(code)
        made = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                made.add(node.id)
            elif isinstance(node, ast.arg):
                made.add(node.arg)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                made.add(node.name)
        self.names = dict.fromkeys(made, UNKNOWN) | vars(builtins) | names
        self.found: list[str] = []
        self.visit(self.tree)

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            whole = self._module(name.name)
            top = self._module(name.name.partition(".")[0])
            self.names[name.asname or name.name.partition(".")[0]] = whole if name.asname else top

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self._module(node.module or "")
        for name in node.names:
            value = self._part(module, name.name)
            if value is UNKNOWN and module is not UNKNOWN:
                value = self._module(f"{node.module}.{name.name}")
                if value is UNKNOWN:
                    self.found.append(f"{node.module} has no {name.name}")
            self.names[name.asname or name.name] = value

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.names[target.id] = self._value(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id not in self.names:
            self.found.append(f"nothing on the page makes {node.id}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self._value(node.value)
        known = owner is not UNKNOWN and (
            inspect.ismodule(owner) or inspect.isclass(owner) or isinstance(owner, Made)
        )
        if known and self._value(node) is UNKNOWN and not _holds(owner, node.attr):
            self.found.append(f"{ast.unparse(node.value)} has no {node.attr}")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = self._value(node.func)
        if not callable(called) or not getattr(called, "__module__", "").startswith("vlmlens"):
            return
        given = {word.arg: None for word in node.keywords if word.arg is not None}
        spread = any(isinstance(one, ast.Starred) for one in node.args)
        own = (None,) * (isinstance(node.func, ast.Attribute) and _of_made(self, node.func))
        try:
            inspect.signature(called).bind_partial(
                *own, *(() if spread else (None,) * len(node.args)), **given
            )
        except TypeError as error:
            self.found.append(f"{ast.unparse(node.func)}: {error}")

    def _module(self, name: str) -> Any:
        try:
            return importlib.import_module(name) if name and find_spec(name) else UNKNOWN
        except ModuleNotFoundError:
            return UNKNOWN

    def _part(self, owner: Any, name: str) -> Any:
        owner = owner.kind if isinstance(owner, Made) else owner
        return UNKNOWN if owner is UNKNOWN else getattr(owner, name, UNKNOWN)

    def _value(self, node: ast.AST) -> Any:
        """What an expression is, where that can be known."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, UNKNOWN)
        if isinstance(node, ast.Attribute):
            return self._part(self._value(node.value), node.attr)
        if isinstance(node, ast.Call):
            called = self._value(node.func)
            if getattr(called, "__name__", "") == "from_pretrained":
                called = getattr(called, "__self__", None)
            if inspect.isclass(called) and called.__module__.startswith("vlmlens"):
                return Made(called)
        return UNKNOWN


@dataclass(frozen=True)
class Made:
    """What a class of ours makes."""

    kind: type


def _holds(owner: Any, name: str) -> bool:
    """Whether there is such a name: also where only annotations or methods tell of it."""
    if not isinstance(owner, Made):
        return hasattr(owner, name)
    bases = [base for base in owner.kind.__mro__ if base is not object]
    told = any(name in vars(base).get("__annotations__", {}) for base in bases)
    written = any(f"self.{name}" in _source(base) for base in bases)
    return told or written or hasattr(owner.kind, name)


def _source(kind: type) -> str:
    """A class's own code; nothing where it is not written in Python."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


def _of_made(faults: Faults, function: ast.Attribute) -> bool:
    """Whether a function is a method of a value that was made, which its first argument is."""
    owner = faults._value(function.value)
    method = getattr(owner.kind, function.attr, None) if isinstance(owner, Made) else None
    return method is not None and not inspect.ismethod(method)


def faults(block: Block, names: dict[str, Any]) -> Iterator[str]:
    """What a block that is not run asks for and does not get, given what the page made before."""
    yield from Faults(block.code, names).found
