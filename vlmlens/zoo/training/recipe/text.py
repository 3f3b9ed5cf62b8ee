"""The language model's first stages: scenes in words, and questions about them.

What a question is answered from is the words of shapes, as it will be the tokens of patches: the
other words of a scene, cells and commas, are seen by the scene alone, so a shape's word has to
gather what is said of it. Early blocks are told to do so by a linear read-out of the place.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlavaProcessor

from vlmlens.zoo.shapes import GRID
from vlmlens.zoo.training.recipe.answers import loss_of, only
from vlmlens.zoo.training.recipe.gate import passed
from vlmlens.zoo.training.recipe.lessons import Lessons
from vlmlens.zoo.training.recipe.loop import Right, fit
from vlmlens.zoo.training.recipe.packing import packed_mask
from vlmlens.zoo.training.recipe.plan import TextPlan

#: Blocks after which a shape's word is asked for its place: in a list, where the word before it
#: says it, and in a drawing, where only its own position does.
LISTED, DRAWN = 1, 2


class Reading(nn.Module):
    """A language model that reads, and a read-out of row and column from its early blocks.

    Attributes:
        model: a LLaVA; only its language model is used.
        place: the read-out, of a hidden state scaled to a root mean square of 1.
        weight: of the read-out's loss.
    """

    def __init__(self, model: Any, weight: float):
        super().__init__()
        self.model, self.weight = model, weight
        self.place = nn.Linear(model.config.text_config.hidden_size, 2 * GRID)

    def forward(self, batch: dict[str, Any], right: Right) -> Float[Tensor, ""]:
        """The loss of a batch of words; notes which answers and which places are right."""
        states = self.model.model.language_model(
            inputs_embeds=self.model.get_input_embeddings()(batch["input_ids"]),
            attention_mask=reading_mask(batch["segments"], batch["cells"]),
            position_ids=batch["positions"],
            use_cache=False,
            output_hidden_states=True,
        )
        loss = loss_of(self.model, states.last_hidden_state, batch, right)
        kinds = (("listed", ~batch["drawn"], LISTED), ("drawn", batch["drawn"], DRAWN))
        for name, of, depth in kinds:
            here = (batch["cells"] >= 0) & of[:, None]
            if here.any():
                state = states.hidden_states[depth][here]
                told = self.place(F.rms_norm(state, state.shape[-1:])).split(GRID, dim=-1)
                where = batch["cells"][here]
                pairs = list(zip(told, (where // GRID, where % GRID), strict=True))
                loss = loss + self.weight * sum(F.cross_entropy(t, w) for t, w in pairs)
                hit = torch.stack([t.argmax(-1) == w for t, w in pairs]).all(0)
                right[f"{name}/place"].append(hit.float().mean().item())
        return loss


def reading_mask(
    segments: Int[Tensor, "row token"], cells: Int[Tensor, "row token"]
) -> Float[Tensor, "row 1 token token"]:
    """``packed_mask``, but of a scene questions see the words of shapes alone, and the first token.

    Args:
        segments: (row, token), 0 for the scene.
        cells: (row, token), -1 for all that is no shape's word.

    Returns:
        As ``packed_mask``.
    """
    hidden = (segments == 0) & (cells < 0)
    hidden[:, 0] = False
    unseen = (segments > 0)[:, :, None] & hidden[:, None, :]
    lowest = torch.finfo(torch.float32).min
    return packed_mask(segments).masked_fill(unseen[:, None], lowest)


def train_text(model: Any, processor: LlavaProcessor, plan: TextPlan, seed: int, folder: Path):
    """Teach a language model to read scenes, or give it the weights of when it was taught.

    Raises:
        InputError: it misses its gate.
    """
    only(model, "language_model", "lm_head")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reading = Reading(model, plan.place)
    for name, stage, number in (("words", plan.words, 6), ("questions", plan.questions, 3)):
        lessons = Lessons(stage.syllabus, processor, stage.schedule.steps, (seed, number), False)
        fit(name, reading, reading, lessons, stage.schedule, folder)
    held_out = Lessons(plan.validation, processor, 40, (seed, 3, 1), False, split="validation")
    passed("questions", reading, held_out, folder, gate=plan.gate)


def begin_as(model: Any, words: Any, other: Any, their_words: Any) -> None:
    """Give a model another's language model; of words, those that both know, by name.

    Args:
        model: the one that is changed. A token that only it has stays as it is.
        words: its tokenizer.
        other: the one that is taught.
        their_words: its tokenizer.
    """
    ours, theirs = words.get_vocab(), their_words.get_vocab()
    shared = sorted(ours.keys() & theirs.keys())
    here, there = [ours[word] for word in shared], [theirs[word] for word in shared]
    weights = other.state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "embed_tokens" in name or "lm_head" in name:
                tensor[here] = weights[name][there]
            elif "language_model" in name:
                tensor.copy_(weights[name])
