"""Models whose weights are packed: wired, audited, and told from those that they were made of."""

import pytest
import torch
from conftest import build, picture
from torch import nn
from transformers import BitsAndBytesConfig

import vlmlens as vl
from vlmlens.errors import UnsupportedModelError
from vlmlens.experiments.keys import Keys


class Packed(nn.Module):
    """As GPTQ's: numbers of four bits, eight in an integer, a scale a group; no weight."""

    def __init__(self, linear: nn.Linear, group: int = 8):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().T  # into out
        grouped = weight.reshape(-1, group, weight.shape[1])
        scales = grouped.abs().amax(1) / 7
        whole = (weight / scales.repeat_interleave(group, 0)).round().clamp(-7, 7).int() + 8
        rows = whole.reshape(-1, 8, whole.shape[1])
        packed = sum(rows[:, bit] << (4 * bit) for bit in range(8))
        self.register_buffer("qweight", packed.int())
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())
        self.group = group

    def forward(self, x):
        bits = torch.stack([(self.qweight >> (4 * bit)) & 15 for bit in range(8)], 1)
        whole = bits.reshape(self.in_features, -1) - 8
        weight = whole * self.scales.repeat_interleave(self.group, 0)
        return nn.functional.linear(x, weight.T.to(x.dtype), self.bias)


def pack(hf_model):
    for block in hf_model.model.language_model.layers:
        for home in (block.self_attn, block.mlp):
            for name, part in list(home.named_children()):
                if isinstance(part, nn.Linear):
                    setattr(home, name, Packed(part))


def weight_only():
    """Not among what tests are run with: where it is installed, every model opened imports it."""
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


#: How each is asked for, and what is said of it.
KINDS = {
    "bitsandbytes 8-bit": (lambda: BitsAndBytesConfig(load_in_8bit=True), "bitsandbytes 8-bit"),
    "bitsandbytes 4-bit": (lambda: BitsAndBytesConfig(load_in_4bit=True), "bitsandbytes 4-bit"),
    "torchao": (weight_only, "torchao"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    home = tmp_path_factory.mktemp("whole")
    model, processor = build("qwen2_vl")
    model.save_pretrained(home)
    processor.save_pretrained(home)
    return str(home)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_quantised_by_a_library(saved, kind):
    """Every point fires and is editable, logits are plain transformers', results are kept apart."""
    how, words = KINDS[kind]
    with vl.HookedVLM.from_pretrained(saved) as whole:
        inputs = whole.inputs([picture(0)], ["Left?"])
        exact = whole.run(inputs).logits
        before = Keys(whole, "answers").base
    with vl.HookedVLM.from_pretrained(saved, quantization_config=how()) as vlm:
        logits = vlm.run(inputs).logits
        assert torch.equal(logits, vlm.hf_model(**inputs.tensors).logits)
        assert torch.corrcoef(torch.stack([logits.flatten(), exact.flatten()]))[0, 1] > 0.8
        assert not torch.equal(logits, exact)
        audit = vlm.audit()
        assert audit.holds, audit
        assert words in audit.dtype
        assert Keys(vlm, "answers").base != before
        head = vlm.run(inputs, save=["blocks.0.attn.hook_result", "blocks.0.hook_attn_out"]).saved
        summed = head["result", 0].sum(-2)
        out = head["attn_out", 0]
        # In 8 bits every row that enters is rounded, to 1/127 of its largest: of one head or all.
        assert (summed - out).norm() < (0.03 if "8-bit" in kind else 1e-5) * out.norm()


@pytest.mark.slow
def test_packed_by_hand():
    """Modules of nobody's that have no weight: what they compute is asked of them."""
    model, processor = build("llava")
    plain = vl.HookedVLM(model, processor)
    first = plain.revision
    plain.close()
    pack(model)
    with vl.HookedVLM(model, processor) as vlm:
        assert vlm.revision != first
        inputs = vlm.inputs([picture(0)], ["Left?"])
        run = vlm.run(inputs, save=["blocks.0.attn.hook_result", "blocks.0.hook_attn_out"])
        assert torch.equal(run.logits, model(**inputs.tensors).logits)
        torch.testing.assert_close(
            run.saved["result", 0].sum(-2), run.saved["attn_out", 0], atol=1e-5, rtol=1e-4
        )
        assert vlm.audit().holds
        one = vlm.revision
        with torch.no_grad():
            model.model.language_model.layers[1].mlp.down_proj.qweight[0, 0] ^= 1
        assert vlm.revision != one


def test_an_unembedding_that_is_packed_has_no_directions(saved):
    """And says so, instead of reading whole numbers as if they were directions."""
    settings = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["none"])
    with vl.HookedVLM.from_pretrained(saved, quantization_config=settings) as vlm:
        assert vlm.hf_model.lm_head.weight.dtype == torch.int8
        with pytest.raises(UnsupportedModelError, match="quantised"):
            vlm.tokens_to_residual_directions(3)
