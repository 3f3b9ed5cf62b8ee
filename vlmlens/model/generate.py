"""Decoding under interventions, with the key-value cache."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from vlmlens.errors import InputError
from vlmlens.model.inputs import Inputs
from vlmlens.model.run import Generation, Run, Scores


def decode(
    inputs: Inputs,
    one_pass: Callable[..., Any],
    as_run: Callable[..., Run],
    *,
    tokenizer: Any,
    config: Any,
    cache: Cache,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    stop: bool,
    score: Callable[[Tensor, Cache], Scores],
) -> Generation:
    """Continue prompts token by token; see ``HookedVLM.generate``.

    ``score`` is shown the prompt's last logits, and the cache before anything is added to it.

    Raises:
        InputError: prompts that are padded on the right, or no room for a token.
    """
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens={max_new_tokens}: at least one token is generated")
    if any(layout.roles[-1] == "pad" for layout in inputs.layouts):
        raise InputError("generation needs left-padded inputs: model.inputs(..., padding='left')")
    ends = config.eos_token_id
    ends = [] if ends is None or not stop else [ends] if isinstance(ends, int) else list(ends)
    filler = config.pad_token_id if config.pad_token_id is not None else (ends or [0])[0]
    draw = torch.Generator(device="cpu").manual_seed(seed)
    step_inputs = inputs
    device = inputs.tensors["input_ids"].device
    # Not the number 1, for which Gemma 4 drops positions within the language model.
    last = torch.tensor([inputs.tensors["input_ids"].shape[1] - 1], device=device)
    tensors = dict(inputs.tensors) | {"logits_to_keep": last}
    done = torch.zeros(len(inputs), dtype=torch.bool, device=device)
    lengths = torch.zeros(len(inputs), dtype=torch.long, device=device)
    tokens: list[Tensor] = []
    steps: list[Run] = []
    scores = Scores()
    for step in range(max_new_tokens):
        logits, saved = one_pass(step_inputs, tensors, step=step, cache=cache)
        steps.append(as_run(step_inputs, logits, saved))
        if step == 0:
            scores = score(logits, cache)
        token = _choose(logits[:, -1], temperature, draw).to(device)
        token = token.masked_fill(done, filler)
        lengths += (~done).long()
        tokens.append(token)
        for end in ends:
            done = done | (token == end)
        if done.all() or step == max_new_tokens - 1:
            break
        grown = _named(step_inputs.appended(token[:, None]), token, tokenizer)
        newest = {name: grown.tensors[name][..., -1:] for name in ("input_ids", "position_ids")}
        mask = grown.tensors["attention_mask"]
        kept = {
            "input_ids": grown.tensors["input_ids"],
            "position_ids": grown.tensors["position_ids"],
        }
        step_inputs = replace(grown, tensors=kept | {"attention_mask": mask})
        tensors = newest | {"attention_mask": mask}
    ids = torch.stack(tokens, dim=1)
    texts = _texts(ids, tokenizer, ends)
    return Generation(inputs, ids, lengths, texts, tuple(steps), scores)


def empty_cache(text: Any) -> Cache:
    """A cache that keeps everything, and what layers without attention remember.

    transformers' own for sliding windows drops keys, which points could then not show.
    """
    attending = {"full_attention", "sliding_attention", "chunked_attention"}
    kinds = set(getattr(text, "layer_types", None) or ())
    return DynamicCache(config=text) if kinds - attending else DynamicCache()


def _named(inputs: Inputs, newest: Tensor, tokenizer: Any) -> Inputs:
    """The inputs, whose layouts say what the newest token is; as they are without a tokenizer."""
    if tokenizer is None:
        return inputs
    words = [tokenizer.decode([i]) for i in newest.tolist()]
    named = zip(inputs.layouts, words, strict=True)
    return replace(
        inputs,
        layouts=tuple(replace(lay, tokens=(*lay.tokens[:-1], word)) for lay, word in named),
    )


def _choose(logits: Tensor, temperature: float, draw: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    p = torch.softmax(logits.float() / temperature, -1).cpu()
    return torch.multinomial(p, 1, generator=draw)[:, 0]


def _texts(ids: Tensor, tokenizer: Any, ends: list[int]) -> tuple[str, ...]:
    if tokenizer is None:
        return ()
    texts = []
    for row in ids.tolist():
        first = next((at for at, token in enumerate(row) if token in ends), len(row))
        texts.append(tokenizer.decode(row[:first], skip_special_tokens=True).strip())
    return tuple(texts)
