"""Decoding under interventions, with the key-value cache."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache

from vlmlens.errors import InputError
from vlmlens.inputs import Inputs
from vlmlens.layout import CUT
from vlmlens.model.decoding.beams import Found, search
from vlmlens.model.decoding.choosing import Choice
from vlmlens.model.decoding.streaming import put
from vlmlens.model.passes.run import Generation, Run, Scores
from vlmlens.model.sequence.spelling import spelled

#: The newest tokens that may be parts of one letter, or of letters that share a token.
LETTER = 12


def decode(
    inputs: Inputs,
    one_pass: Callable[..., Any],
    as_run: Callable[..., Run],
    *,
    tokenizer: Any,
    choice: Choice,
    cache: Cache,
    max_new_tokens: int,
    beam_pass: Callable[..., Any],
    score: Callable[[Float[Tensor, "batch vocab"], Cache], Scores],
    streamer: Any = None,
) -> Generation:
    """Continue prompts token by token; see ``HookedVLM.generate``.

    ``score`` is shown the prompt's last logits, and the cache before anything is added to it. With
    beams, the best one of every sample is searched after that, and then decoded as any answer is:
    what is saved is its own.

    Raises:
        InputError: prompts that are padded on the right, or a streamer for beams, whose first
            token is settled with their last.
    """
    if streamer is not None and choice.beams.number > 1:
        raise InputError(
            f"num_beams={choice.beams.number} settles an answer's tokens at its end, so that none "
            "can be streamed: leave streamer= out, or num_beams=1"
        )
    how: Choice | Found = choice
    if any(layout.roles[-1] == "pad" for layout in inputs.layouts):
        raise InputError("generation needs left-padded inputs: model.inputs(..., padding='left')")
    step_inputs = inputs
    device = inputs.tensors["input_ids"].device
    # Not the number 1, for which Gemma 4 drops positions within the language model.
    last = torch.full((1,), inputs.tensors["input_ids"].shape[1] - 1, device=device)
    tensors = dict(inputs.tensors) | {"logits_to_keep": last}
    done = torch.zeros(len(inputs), dtype=torch.bool, device=device)
    lengths = torch.zeros(len(inputs), dtype=torch.long, device=device)
    tokens: list[Tensor] = []
    steps: list[Run] = []
    scores = Scores()
    put(streamer, inputs.tensors["input_ids"])
    for step in range(max_new_tokens):
        logits, saved = one_pass(step_inputs, tensors, step=step, cache=cache)
        steps.append(as_run(step_inputs, logits, saved))
        if step == 0:
            scores = score(logits, cache)
            if choice.beams.number > 1:
                named = partial(_named, tokenizer=tokenizer)
                how = search(choice, inputs, logits[:, -1], cache, beam_pass, named, max_new_tokens)
        ids = step_inputs.tensors["input_ids"]
        token = how.token(ids, logits[:, -1]).masked_fill(done, choice.filler)
        lengths += (~done).long()
        tokens.append(token)
        put(streamer, token)
        done = done | how.done(torch.cat([ids, token[:, None]], 1))
        if done.all() or step == max_new_tokens - 1:
            break
        grown = _named(step_inputs.appended(token[:, None]), tokenizer)
        newest = {name: grown.tensors[name][..., -1:] for name in ("input_ids", "position_ids")}
        mask = grown.tensors["attention_mask"]
        kept = {name: grown.tensors[name] for name in newest}
        step_inputs = replace(grown, tensors=kept | {"attention_mask": mask})
        tensors = newest | {"attention_mask": mask}
    if streamer is not None:
        streamer.end()
    ids = torch.stack(tokens, dim=1)
    texts = _texts(ids, lengths, tokenizer, choice)
    best = how.scores if isinstance(how, Found) else None
    return Generation(inputs, ids, lengths, texts, tuple(steps), scores, best)


def empty_cache(text: Any) -> Cache:
    """A cache that keeps everything, and what layers without attention remember.

    transformers' own for sliding windows drops keys, which points could then not show.
    """
    attending = {"full_attention", "sliding_attention", "chunked_attention"}
    kinds = set(getattr(text, "layer_types", None) or ())
    return DynamicCache(config=text) if kinds - attending else DynamicCache()


def _named(inputs: Inputs, tokenizer: Any) -> Inputs:
    """The inputs, whose layouts say what the newest token is; as they are without a tokenizer."""
    if tokenizer is None:
        return inputs
    layouts = []
    ends = inputs.tensors["input_ids"][:, -LETTER:].tolist()
    for layout, ids in zip(inputs.layouts, ends, strict=True):
        word = tokenizer.decode(ids[-1:])
        start = -1  # with the tokens before it that end inside a letter
        while -start < len(ids) and layout.spelled[start - 1].endswith(CUT):
            start -= 1
        texts = [*layout.tokens[start:-1], word]
        said = spelled(ids[start:], texts, tokenizer.decode)[-1]
        layouts.append(
            replace(
                layout,
                tokens=(*layout.tokens[:-1], word),
                spelled=(*layout.spelled[:-1], said),
            )
        )
    return replace(inputs, layouts=tuple(layouts))


def _texts(
    ids: Int[Tensor, "batch step"],
    lengths: Int[Tensor, " batch"],
    tokenizer: Any,
    choice: Choice | Found,
) -> tuple[str, ...]:
    if tokenizer is None:
        return ()
    texts = []
    for row, length in zip(ids.tolist(), lengths.tolist(), strict=True):
        said = row[: length - (row[length - 1] in choice.ends)]
        texts.append(tokenizer.decode(said, skip_special_tokens=True).strip())
    return tuple(texts)
