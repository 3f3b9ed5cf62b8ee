"""What a notebook shows of a model: its parts and its points."""

from collections import Counter

from vlmlens.display import box, details, facts, table
from vlmlens.model.reading.made_of import in_words
from vlmlens.model.wiring.wired import Wired


def of_model(vlm: Wired, closed: bool) -> str:
    """The parts of a model and its points."""
    text = vlm.config.get_text_config()
    parameters = sum(p.numel() for p in vlm.hf_model.parameters())
    found = {
        "family": vlm.config.model_type,
        "language model": f"{vlm.layers} layers x {text.num_attention_heads} heads, "
        f"d_model {text.hidden_size}",
        "parameters": f"{parameters:,}, {in_words(vlm.hf_model)}, on {vlm.device}",
        "attention": vlm.attention,
    }
    kinds: Counter[str] = Counter()
    for name in vlm.hook_dict:
        kinds[".".join("*" if part.isdigit() else part for part in name.split("."))] += 1
    rows = [
        (name, " ".join(vlm.hook_dict[name.replace("*", _first(vlm, name))].axes), str(count))
        for name, count in kinds.items()
    ]
    state = " (closed)" if closed else ""
    return box(
        f"HookedVLM: {vlm.name}{state}",
        facts(found)
        + details(f"{len(vlm.hook_dict)} points", table(("point", "axes", "layers"), rows)),
    )


def _first(vlm: Wired, kind: str) -> str:
    """The number of the first block that offers such a point."""
    head, _, tail = kind.partition("*")
    found = (n for n in vlm.hook_dict if n.startswith(head) and n.endswith(tail))
    return next(found)[len(head) :].removesuffix(tail) if "*" in kind else ""
