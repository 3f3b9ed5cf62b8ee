"""Passes with torch's own hooks on transformers' own modules, and nothing of ours."""

from contextlib import ExitStack

import torch


def plain(vlm, inputs, changes=(), keep=(), **options):
    """Logits (pos vocab) of one sample; with ``keep``, what modules were given and gave.

    Args:
        vlm: whose transformers model is run.
        inputs: one sample.
        changes: (path of a module, "in" or "out", function of a tensor).
        keep: (path, "in" or "out") whose tensors are wanted.
        options: passed on to the model.
    """
    kept = {}
    with ExitStack() as stack, torch.no_grad():
        for path, when, change in changes:
            stack.callback(_put(vlm.hf_model.get_submodule(path), when, change).remove)
        for path, when in keep:
            note = _noting(kept, (path, when))
            stack.callback(_put(vlm.hf_model.get_submodule(path), when, note).remove)
        output = vlm.hf_model(**inputs.tensors, use_cache=False, **options)
    made = output.logits[0]
    return (made, kept, output) if keep or options else made


def _noting(kept, key):
    def note(x):
        kept[key] = x.clone()
        return x

    return note


def _put(module, when, change):
    if when == "out":

        def after(module, args, output):
            x = output[0] if isinstance(output, tuple) else output
            made = change(x.clone())
            return (made, *output[1:]) if isinstance(output, tuple) else made

        return module.register_forward_hook(after)

    def before(module, args, kwargs):
        x = args[0] if args else kwargs["hidden_states"]
        made = change(x.clone())
        return ((made, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": made})

    return module.register_forward_pre_hook(before, with_kwargs=True)


def putting(source, at):
    """A change: the other run's entries at one place, an index of a tensor."""

    def change(x):
        x[at] = source[at]
        return x

    return change
