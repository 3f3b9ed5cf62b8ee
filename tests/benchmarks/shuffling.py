"""PSI: many permutations of one item."""

from typing import Any

import torch
from transformers import DynamicCache

from tests.benchmarks.bench import Bench
from tests.benchmarks.timing import Found, Side, compared
from vlmlens.experiments import permutation_test
from vlmlens.versions import cache_argument

NEW = 8
#: Permutations that are timed by hand, to stand for all: they cost the same.
TIMED = 2


def permutations(bench: Bench) -> Found:
    subject = bench.subject
    vlm = bench.vlm(subject)
    vlm.hf_model.generation_config.eos_token_id = None  # every answer as long as it may be

    def ours() -> object:
        return permutation_test(
            vlm, [subject.sample], permutations=bench.shuffles, max_new_tokens=NEW, progress=False
        )

    return compared(ours, by_hand(bench), bench.rounds)


def by_hand(bench: Bench) -> Side:
    """What cannot be shared, in plain transformers: a prompt's pass, its answer, the right one.

    The tower has run; every permutation, and the intact image, goes through the language model,
    which says eight tokens and is asked how likely the right answer is.
    """
    subject = bench.subject
    model, vlm = bench.unwrapped(subject), bench.vlm(subject)
    inputs = bench.inputs(subject)
    words = vlm.inputs([subject.sample], answers=[subject.sample.answer]).tensors["input_ids"]
    size = inputs.tensors["input_ids"].shape[1]
    right = words[:, size:-1]
    vision = torch.from_numpy(inputs.layouts[0].vision(0))
    draw = torch.Generator().manual_seed(0)

    def feed(tokens: dict[str, Any], start: int, cache: DynamicCache) -> torch.Tensor:
        length = next(iter(tokens.values())).shape[1]
        return model(
            **tokens,
            position_ids=torch.arange(start, start + length)[None],
            attention_mask=torch.ones(1, start + length, dtype=torch.long),
            **cache_argument(model, cache),
            logits_to_keep=length if start else 1,
        ).logits

    def tower() -> Any:
        with torch.no_grad():
            return model.model.get_image_features(inputs.tensors["pixel_values"]).pooler_output

    features = tower()

    def prompts() -> Any:
        with torch.no_grad():
            embedded = model.get_input_embeddings()(inputs.tensors["input_ids"])
            said = []
            for _ in range(TIMED):
                order = torch.randperm(len(vision), generator=draw)
                embedded[0, vision] = features[0][order]
                cache = DynamicCache()
                logits = feed({"inputs_embeds": embedded}, 0, cache)
                feed({"input_ids": right}, size, cache)
                cache.crop(-right.shape[1])
                for step in range(NEW - 1):
                    token = logits[:, -1:].argmax(-1)
                    said.append(token)
                    logits = feed({"input_ids": token}, size + step, cache)
            return said

    return Side(prompts, times=(bench.shuffles + 1) / TIMED, plus=Side(tower))
