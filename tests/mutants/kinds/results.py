"""Stored results that answer for another model, picture, edit or question."""

from tests.mutants.fault import Fault

KEYS = ("experiments/test_keys.py",)

RESULTS: tuple[Fault, ...] = (
    Fault(
        "a sweep's key leaves out its system prompt",
        "experiments/sweeps.py",
        '"sweep", point, over, where, edit, score, system)',
        '"sweep", point, over, where, edit, score)',
        ("experiments/test_sweeps.py",),
    ),
    Fault(
        "a key leaves out the pixels",
        "experiments/keys.py",
        "identity.value((told, identity.scene(sample)))",
        "identity.value((told,))",
        KEYS,
    ),
    Fault(
        "a key leaves out the edits",
        "experiments/keys.py",
        "parts = [self._base, rest]",
        "parts = [self._base]",
        KEYS,
    ),
    Fault(
        "a key leaves out the versions of libraries",
        "experiments/keys.py",
        "how, identity.versions(), _numerics()",
        "how, _numerics()",
        KEYS,
    ),
    Fault(
        "hooks of the user's own are not looked for",
        "experiments/keys.py",
        "if on := identity.hooks_on(model.hf_model, model.hook_dict):",
        "if on := '':",
        KEYS,
    ),
    Fault(
        "a function is known without its defaults",
        "identity/code.py",
        "parts += [content.of(given.__defaults__), content.of(given.__kwdefaults__)]",
        "parts += []",
        ("identity/test_code.py", *KEYS),
    ),
    Fault(
        "a function is known without the globals that it reads",
        "identity/code.py",
        "*content.named(_read(given.__code__, given.__globals__)),",
        "",
        ("identity/test_code.py", *KEYS),
    ),
    Fault(
        "a tensor is known without its shape",
        "identity/tensors.py",
        'content.joined("tensor", str(x.dtype), str(tuple(x.shape)), *inside',
        'content.joined("tensor", str(x.dtype), *inside',
        ("identity/test_code.py", *KEYS),
    ),
    Fault(
        "a cell of another key is accepted",
        "experiments/store.py",
        "wanted = [key, said[1]",
        "wanted = [said[0], said[1]",
        ("experiments/test_store.py",),
    ),
    Fault(
        "a damaged cell is accepted",
        "experiments/store.py",
        "json.dumps(list(ids)), content(found)]",
        "json.dumps(list(ids)), said[2]]",
        ("experiments/test_store.py",),
    ),
    Fault(
        "a stored table keeps the widths of its words",
        "experiments/files.py",
        "    plain = data.drop_encoding()\n",
        "    plain = data\n",
        ("experiments/test_store.py", "experiments/test_experiment.py"),
    ),
    Fault(
        "a table that is read keeps the widths of its words",
        "experiments/files.py",
        "found = found.drop_encoding()",
        "found = found",
        ("experiments/test_store.py", "experiments/test_experiment.py"),
    ),
    Fault(
        "samples of an edit are counted in the batch",
        "experiments/cell.py",
        "here = tuple(at for at, row in enumerate(rows) if row in meant)",
        "here = tuple(at for at, row in enumerate(rows) if at in meant)",
        ("experiments/test_experiment.py", *KEYS),
    ),
    Fault(
        "a batch is left out with the one sample of it that fails",
        "experiments/done.py",
        "if len(rows) == 1:\n                failing.add(rows[0], error)",
        "if len(rows) >= 1:\n                [failing.add(row, error) for row in rows]",
        ("experiments/test_failing.py",),
    ),
)
