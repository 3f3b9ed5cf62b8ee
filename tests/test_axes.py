"""Every signature says the axes of its tensors and arrays."""

import ast

import jaxtyping
import pytest
from test_house import SOURCES

#: Types that say nothing of their axes.
AXELESS = {"Tensor", "FloatTensor", "LongTensor", "ndarray", "NDArray", "ArrayLike"}


def bare(hint):
    """Whether an annotation holds a tensor or an array whose axes it does not say."""
    if isinstance(hint, ast.Constant) and isinstance(hint.value, str):
        return bare(ast.parse(hint.value, mode="eval").body)
    name = hint.attr if isinstance(hint, ast.Attribute) else getattr(hint, "id", "")
    if isinstance(hint, ast.Subscript):
        home = ast.unparse(hint.value).rpartition(".")[2]
        if home == "Literal" or isinstance(getattr(jaxtyping, home, None), type):
            return False
        if home == "Annotated":  # what follows the type is no type
            return bare(next(ast.iter_child_nodes(hint.slice)))
    return name in AXELESS or any(bare(part) for part in ast.iter_child_nodes(hint))


def signatures(tree):
    """What parameters, results and fields of classes are said to be: a name, and the annotation."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = node.args
            every = [*own.posonlyargs, *own.args, own.vararg, *own.kwonlyargs, own.kwarg]
            yield from ((f"{node.name}({one.arg})", one.annotation) for one in every if one)
            yield f"{node.name}()", node.returns
        elif isinstance(node, ast.ClassDef):
            fields = (part for part in node.body if isinstance(part, ast.AnnAssign))
            yield from (
                (f"{node.name}.{ast.unparse(one.target)}", one.annotation) for one in fields
            )


def aliases(tree, used):
    """Names of a file's own for types that annotations use, and what they stand for."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and (name := ast.unparse(node.targets[0])) in used:
            yield name, node.value


@pytest.mark.parametrize("hint", ["Tensor", "np.ndarray | None", "dict[str, 'torch.Tensor']"])
def test_a_hint_without_axes_is_seen(hint):
    assert bare(ast.parse(hint, mode="eval").body)


def test_every_signature_says_the_axes_of_its_tensors_and_arrays():
    trees = {name: ast.parse(source) for name, source in SOURCES.items()}
    said = [
        (f"{name}: {where}", hint)
        for name, tree in trees.items()
        for where, hint in signatures(tree)
        if hint is not None
    ]
    used = {ast.unparse(part) for _, hint in said for part in ast.walk(hint)}
    said += [
        (f"{name}: {alias}", hint)
        for name, tree in trees.items()
        for alias, hint in aliases(tree, used)
    ]
    assert "model/reading/stream.py: Which" in dict(said)
    assert not (silent := [where for where, hint in said if bare(hint)]), silent
