"""Laws that a processor cannot show: kernels, half precision, waiting, compiled code, two cards."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vlmlens.gpu.card import Card
from vlmlens.gpu.findings import Law, tried
from vlmlens.gpu.subject import NARROW, Size, Subject
from vlmlens.inputs import Inputs
from vlmlens.interventions import Edit, KnockOut, PermuteVision, ZeroAblate
from vlmlens.model.audit.findings import Audit
from vlmlens.model.audit.measure import BOUNDS
from vlmlens.model.hooked import HookedVLM
from vlmlens.probes import cmb, norms, rope
from vlmlens.select import Where
from vlmlens.zoo.tiny import TINY, build

#: Families that stand for all in half precision: each rotates or norms in its own way.
FEW = ("llava", "qwen2_5_vl", "gemma3", "internvl")
#: What an edit may wait for: whether it cut anything is asked once, after the pass.
ASKED = {"KnockOut": 1}
BACK_ENDS = ("MATH", "EFFICIENT_ATTENTION", "FLASH_ATTENTION", "CUDNN_ATTENTION")


def laws(card: Card, families: tuple[str, ...], size: Size = NARROW) -> Iterator[Law]:
    """Every law, one after the other."""
    with full_precision():
        for name in families:
            yield tried("the audit, float32", name, partial(audited, card, name, torch.float32))
    for dtype in (torch.bfloat16, torch.float16):
        for name in (name for name in FEW if name in families):
            title = f"the audit, {str(dtype).removeprefix('torch.')}"
            yield tried(title, name, partial(audited, card, name, dtype))
    yield from waiting(card, families)
    subject = Subject.of(size, card.device)
    with subject.vlm:
        for name in BACK_ENDS:
            yield tried(
                "the same by every attention kernel", name, lambda n=name: kernel(subject, n)
            )
        yield tried(
            "compiled, and watched without a hook lost", str(size), partial(compiled, subject)
        )
    yield tried("spread over two cards", "llava", partial(spread, card))


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 while this lasts: float32 means float32."""
    own = torch.backends
    before = own.cuda.matmul.allow_tf32, own.cudnn.allow_tf32
    own.cuda.matmul.allow_tf32 = own.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        own.cuda.matmul.allow_tf32, own.cudnn.allow_tf32 = before


def audited(card: Card, name: str, dtype: torch.dtype) -> tuple[bool | None, str]:
    """Every point fires and is editable, every invariant within its bound."""
    model, processor = build(name)
    if dtype != torch.float32:
        model = _in_half(model, dtype)
    with HookedVLM(model.to(card.device), processor, name=f"tiny {name}") as vlm:
        found = vlm.audit()
    return found.holds, _worst(found)


def _in_half(model: Any, dtype: torch.dtype) -> Any:
    """Weights in half precision, buffers (frequencies of RoPE) as they were."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype
    return model


def _worst(audit: Audit) -> str:
    missed = [item for item in audit.invariants if not item.holds]
    dead = [point.name for point in audit.points if not point.holds]
    if missed or dead:
        off = [f"{item.name}: {item.difference:.1e} > {item.bound:.0e}" for item in missed]
        return "; ".join([*off, *(f"{name} is dead" for name in dead)])
    measured = [item.difference for item in audit.invariants if not item.note]
    return f"{len(audit.points)} kinds of points; largest difference {max(measured):.1e}"


def waiting(card: Card, families: tuple[str, ...]) -> Iterator[Law]:
    """Watching and editing wait for the device no more often than transformers itself does."""
    for name in (name for name in FEW if name in families):
        model, processor = build(name)
        with HookedVLM(model.to(card.device), processor, name=f"tiny {name}") as vlm:
            inputs = own_inputs(vlm)
            for title, run in watched(vlm, inputs).items():
                yield tried(
                    "nothing waits for the device",
                    f"{name}: {title}",
                    partial(unwaiting, card, vlm, inputs, run, ASKED.get(title, 0)),
                )


def own_inputs(vlm: HookedVLM) -> Inputs:
    """Two questions about two pictures."""
    from vlmlens.model.audit.measure import own_inputs as drawn

    return drawn(vlm)


def watched(vlm: HookedVLM, inputs: Inputs) -> dict[str, Callable[[], object]]:
    """Ways to watch and to edit a pass."""
    knock = KnockOut(where=Where(keys="vision", heads=0))
    ablate = ZeroAblate("blocks.*.attn.hook_z", Where(positions="vision", heads=[1]))
    edit = Edit("blocks.1.hook_resid_pre", Where(positions="last"), by=torch.neg)
    return {
        "saving the residual stream": lambda: vlm.run(inputs, save="blocks.*.hook_resid_post"),
        "saving every point": lambda: vlm.run(inputs, save="*"),
        "CMB": lambda: vlm.run(inputs, save=cmb.NEEDS),
        "RoPE probe": lambda: vlm.run(inputs, save=rope.NEEDS),
        "norms": lambda: vlm.run(inputs, save=norms.NEEDS),
        "KnockOut": lambda: vlm.run(inputs, knock),
        "ZeroAblate": lambda: vlm.run(inputs, ablate),
        "a function of one's own": lambda: vlm.run(inputs, edit),
        "PermuteVision": lambda: vlm.run(inputs, PermuteVision()),
    }


def unwaiting(
    card: Card, vlm: HookedVLM, inputs: Inputs, run: Callable[[], object], asked: int
) -> tuple[bool | None, str]:
    """Counts how often a pass makes the processor wait, by torch's own debug mode."""
    if not card.cuda:
        return None, "a CPU waits for nothing"
    bare = Inputs(dict(inputs.tensors), inputs.layouts)

    def plain() -> object:
        with torch.no_grad():
            return vlm.hf_model(**bare.tensors, use_cache=False)

    for each in (plain, run):  # what is computed once is computed now
        each()
    theirs, ours = waits(plain), waits(run)
    holds = len(ours) <= len(theirs) + asked
    where = "" if holds else f", at {'; '.join(sorted(set(ours) - set(theirs)))}"
    return holds, f"{len(ours)} waits, transformers alone {len(theirs)}{where}"


def waits(run: Callable[[], object]) -> list[str]:
    """Where a call makes the processor wait for the device: files and lines."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [
        "/".join(w.filename.split("/")[-2:]) + f":{w.lineno}"
        for w in heard
        if "synchroniz" in str(w.message)
    ]


def kernel(subject: Subject, name: str) -> tuple[bool | None, str]:
    """What a kernel makes of a pass, against attention written out, in half precision."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    vlm = subject.vlm
    inputs = vlm.inputs([subject.question()])
    points = ["blocks.*.attn.hook_z", cmb.NEEDS[0]]
    with sdpa_kernel(SDPBackend.MATH):
        wanted = vlm.run(inputs, save=points)
    try:
        with sdpa_kernel(getattr(SDPBackend, name)):
            plain = vlm.run(inputs).logits
            found = vlm.run(inputs, save=points)
    except RuntimeError as error:
        if not any(said in str(error) for said in ("No available kernel", "No viable backend")):
            raise
        return None, "torch has no such kernel for this pass"
    bound = BOUNDS[subject.size.dtype]
    worst = max(_off(found.saved[p], wanted.saved[p]) for p in found.saved)
    holds = worst <= bound and torch.equal(plain, found.logits)
    return holds, f"largest difference {worst:.1e} of {bound:.0e}; watched equals unwatched"


def compiled(subject: Subject) -> tuple[bool | None, str]:
    """Compiled passes agree with eager ones, and a watched pass is the eager one bit for bit."""
    vlm = subject.vlm
    inputs = vlm.inputs([subject.question()])
    ablate = ZeroAblate("blocks.0.attn.hook_z")
    eager, edited = vlm.run(inputs).logits, vlm.run(inputs, ablate).logits
    language = vlm.hf_model.model.language_model
    language.compile()
    try:
        fast, slow = vlm.run(inputs).logits, vlm.run(inputs, ablate).logits
    finally:
        language._compiled_call_impl = None
    bound = BOUNDS[subject.size.dtype]
    off = _off(fast, eager)
    return off <= bound and torch.equal(
        slow, edited
    ), f"compiled differs by {off:.1e} of {bound:.0e}"


def spread(card: Card) -> tuple[bool | None, str]:
    """A model over two cards gives what it gives on one."""
    if not card.cuda or torch.cuda.device_count() < 2:
        return None, "there are not two cards here"
    model, processor = build("llava")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        logits = []
        for options in ({"device": card.device}, {"device_map": "balanced"}):
            with HookedVLM.from_pretrained(folder, **options) as vlm:
                run = vlm.run(own_inputs(vlm), ZeroAblate("blocks.0.attn.hook_z"), save="*")
                logits.append(run.logits.cpu())
                places = {str(x.device) for x in run.saved.values()}
    off = _off(logits[1], logits[0])
    bound = BOUNDS[torch.float32]
    return off <= bound and len(places) > 1, f"differs by {off:.1e} of {bound:.0e} on {places}"


def _off(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> float:
    from vlmlens.model.audit.checks import off

    return off(a, b)


def every_family() -> tuple[str, ...]:
    """A tiny model of every family."""
    return tuple(TINY)
