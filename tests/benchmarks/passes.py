"""One pass: with nobody watching, and with everything kept."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

import vlmlens as vl
from tests.benchmarks.bench import Bench
from tests.benchmarks.subject import Subject
from tests.benchmarks.timing import Found, compared, timed

STREAM = ("hook_embed", "blocks.*.hook_resid_post")
#: Everything that a raw hook sees as well: what goes into and comes out of modules.
MODULES = (
    "vision.blocks.*.hook_resid_pre",
    "vision.blocks.*.hook_resid_post",
    "vision.blocks.*.attn.hook_z",
    "vision.blocks.*.hook_attn_out",
    "vision.blocks.*.hook_mlp_out",
    "projector.*",
    "blocks.*.hook_resid_pre",
    "blocks.*.hook_resid_mid",
    "blocks.*.hook_resid_post",
    "blocks.*.attn.hook_q",
    "blocks.*.attn.hook_k",
    "blocks.*.attn.hook_v",
    "blocks.*.attn.hook_z",
    "blocks.*.hook_attn_out",
    "blocks.*.mlp.hook_pre",
    "blocks.*.mlp.hook_post",
    "blocks.*.hook_mlp_out",
    "ln_final.hook_normalized",
    "hook_logits",
)


def plain(bench: Bench, subject: Subject) -> Callable[[], object]:
    """transformers' own forward, on a model that nobody wraps, with the same tensors."""
    model, tensors = bench.unwrapped(subject), bench.inputs(subject).tensors

    def run() -> object:
        with torch.no_grad():
            return model(**tensors, use_cache=False)

    return run


def forward(bench: Bench) -> Found:
    return compared(
        lambda: bench.vlm(bench.subject).run(bench.inputs(bench.subject)),
        plain(bench, bench.subject),
        bench.rounds,
    )


def tiny_forward(bench: Bench) -> Found:
    def often(run: Callable[[], object]) -> Callable[[], None]:
        return lambda: [run() for _ in range(10)] and None

    vlm, inputs = bench.vlm(bench.tiny), bench.inputs(bench.tiny)
    return compared(
        often(lambda: vlm.run(inputs)), often(plain(bench, bench.tiny)), 3 * bench.rounds
    )


def opening(bench: Bench) -> Found:
    model, processor = bench.unwrapped(bench.subject), bench.subject.processor
    return timed(lambda: vl.HookedVLM(model, processor).close(), bench.rounds)


def stream(bench: Bench) -> Found:
    vlm, inputs = bench.vlm(bench.subject), bench.inputs(bench.subject)
    return compared(lambda: vlm.run(inputs, save=STREAM), hooked(bench, STREAM), bench.rounds)


def everything(bench: Bench) -> Found:
    vlm, inputs = bench.vlm(bench.subject), bench.inputs(bench.subject)
    return compared(lambda: vlm.run(inputs, save=MODULES), hooked(bench, MODULES), bench.rounds)


def hooked(bench: Bench, patterns: tuple[str, ...]) -> Callable[[], dict[str, Tensor]]:
    """Raw torch hooks that keep the same tensors."""
    model, tensors = bench.unwrapped(bench.subject), bench.inputs(bench.subject).tensors
    vlm = bench.vlm(bench.subject)
    wanted = [vlm.hook_dict[name] for name in vlm.matching(patterns)]
    places = [(p.name, p.tap.stage, path_of(vlm, p)) for p in wanted]

    def run() -> dict[str, Tensor]:
        kept: dict[str, Tensor] = {}
        with ExitStack() as stack, torch.no_grad():
            for name, stage, path in places:
                handle = raw(model.get_submodule(path), stage, name, kept)
                stack.callback(handle.remove)
            kept["logits"] = model(**tensors, use_cache=False).logits
        return kept

    assert set(run()) - {"logits"} == set(vlm.matching(patterns))
    return run


def raw(module: nn.Module, stage: str, name: str, kept: dict[str, Tensor]) -> Any:
    """One raw hook."""

    def after(_: nn.Module, args: tuple, output: Any) -> None:
        kept[name] = output[0] if isinstance(output, tuple) else output

    def before(_: nn.Module, args: tuple, kwargs: dict) -> None:
        kept[name] = args[0] if args else kwargs["hidden_states"]

    if stage == "out":
        return module.register_forward_hook(after)
    return module.register_forward_pre_hook(before, with_kwargs=True)


def path_of(vlm: vl.HookedVLM, point: Any) -> str:
    """Where the module of a point is."""
    (module,) = point._wire._module
    return next(path for path, other in vlm.hf_model.named_modules() if other is module)
