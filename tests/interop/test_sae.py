"""SAELens's files, against what SAELens itself makes of them, and what is refused of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from as_users import as_users
from closeness import assert_close
from safetensors.torch import load_file, save_file

from vlmlens.errors import DataError, InputError, UnknownModelError
from vlmlens.interop import sae

GOLDEN = Path(__file__).parents[1] / "golden" / "saelens"
FOLDERS = sorted(each.parent.name for each in GOLDEN.glob("*/cfg.json"))


@pytest.fixture
def folder(tmp_path):
    """A folder of SAELens, copied, of which a setting can be changed."""

    def copied(name="topk", **changed):
        told = json.loads((GOLDEN / name / "cfg.json").read_text()) | changed
        (tmp_path / "cfg.json").write_text(json.dumps(told))
        (tmp_path / "sae_weights.safetensors").write_bytes(
            (GOLDEN / name / "sae_weights.safetensors").read_bytes()
        )
        return tmp_path

    return copied


@pytest.mark.parametrize("name", FOLDERS)
def test_features_and_what_they_make_are_saelenss_own(name):
    found, golden = sae.load(GOLDEN / name), np.load(GOLDEN / name / "golden.npz")
    acts = found.encode(torch.from_numpy(golden["x"]))
    assert (golden["acts"] > 0).any()
    assert_close(acts, golden["acts"], depth=1, size=8)
    assert_close(found.decode(acts), golden["made"], depth=1, size=16)


def test_topk_features_are_never_negative():
    """Where fewer than k are above zero, fewer are active."""
    settings = sae.Settings("topk", 2, 4, 2, 4)
    weights = {
        "W_enc": torch.tensor([[1.0, -1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]]),
        "W_dec": torch.ones(4, 2),
        "b_enc": torch.zeros(4),
        "b_dec": torch.zeros(2),
    }
    acts = sae.SAE(settings, weights).encode(torch.tensor([3.0, -5.0]))
    assert acts.tolist() == [3.0, 0.0, 6.0, 0.0]


def test_there_is_one_of_each_kind():
    assert {sae.load(GOLDEN / name).settings.architecture for name in FOLDERS} == {
        *("standard", "topk", "jumprelu", "gated", "transcoder", "jumprelu_transcoder")
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_saved_is_read_again(name, tmp_path):
    found = sae.load(GOLDEN / name)
    again = sae.load(sae.save(found, tmp_path))
    assert again.settings == found.settings
    for key, value in found.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_where_it_was_trained_is_known():
    assert sae.load(GOLDEN / "topk").point == "blocks.1.hook_resid_post"
    found = sae.load(GOLDEN / "transcoder").settings
    assert (found.reads, found.point) == ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out")


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("standard", {"architecture": "matching_pursuit"}, "matching_pursuit"),
        ("standard", {"normalize_activations": "layer_norm"}, "layer_norm"),
        ("standard", {"normalize_activations": "expected_average_only_in"}, "average_only_in"),
        ("standard", {"reshape_activations": "hook_q"}, "hook_q"),
        ("standard", {"activation_fn_str": "tanh"}, "activation_fn_str"),
        ("standard", {"rescale_acts_by_decoder_norm": True}, "of topk"),
        ("standard", {"d_sae": 17}, "17"),
        ("standard", {"d_in": "eight"}, "d_in"),
        ("standard", {"dtype": "float3"}, "float3"),
        ("topk", {"k": 0}, "k=0"),
        ("topk", {"k": 17}, "k=17"),
        ("transcoder", {"apply_b_dec_to_input": True}, "transcoder"),
        ("standard", {"architecture": "jumprelu"}, "threshold"),
    ],
)
def test_what_would_change_numbers_is_refused_and_never_ignored(folder, name, changed, message):
    with as_users(), pytest.raises(InputError, match=message):
        sae.load(folder(name, **changed))


def test_files_that_cannot_be_read(folder, tmp_path):
    with pytest.raises(UnknownModelError, match="shapes-base"):
        sae.load(tmp_path / "nowhere")
    there = folder()
    (there / "sae_weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        sae.load(there)
    (there / "cfg.json").write_text("[")
    with pytest.raises(DataError, match="cannot be read"):
        sae.load(there)


def test_a_weight_too_many_is_refused(folder):
    path = folder() / "sae_weights.safetensors"
    save_file(load_file(path) | {"W_skip": torch.zeros(8, 8)}, path)
    with pytest.raises(InputError, match="W_skip"):
        sae.load(path.parent)
