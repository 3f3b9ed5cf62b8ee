import numpy as np
import pytest
from closeness import assert_close
from conftest import picture

import vlmlens as vl
from vlmlens.errors import InputError, UnknownPointError
from vlmlens.probes import attention_rows
from vlmlens.probes.rows import EDGES, NEEDS


def test_rows_are_the_models_own_without_the_padding(vlm, inputs):
    run = vlm.run(inputs, save=NEEDS)
    patterns = run.saved.stack(NEEDS[0])
    for sample, layout in enumerate(inputs.layouts):
        table = attention_rows(run, sample=sample)
        own = ~layout.mask("pad")
        expected = patterns[:, sample].numpy()[..., own, :][..., own]
        np.testing.assert_array_equal(table["attention"], expected)
        assert_close(table["attention"].sum("key"), 1.0)
        assert table["token"].values.tolist() == [
            t for t, o in zip(layout.tokens, own, strict=True) if o
        ]
        assert table["role"].values.tolist() == [r for r in layout.roles if r != "pad"]
        vision = table.isel(key=table["image"].values == 0)
        box = np.stack([vision[edge] for edge in EDGES], -1)
        np.testing.assert_array_equal(box, layout.box[layout.vision(0)])
        np.testing.assert_array_equal(
            table["picture_0"], np.asarray(inputs.samples[sample].pictures()[0])
        )


def test_some_rows_are_those_rows(vlm):
    inputs = vlm.inputs([picture(0)], ["What color is the circle?"])
    whole = attention_rows(vlm.run(inputs, save=NEEDS))
    run = vlm.run(inputs, save=vl.Save(NEEDS[0].points, rows="user"))
    part = attention_rows(run, rows="user")
    assert set(part["role"].sel(key=part["query"]).values) == {"user"}
    expected = whole["attention"].sel(query=part["query"])
    assert_close(part["attention"], expected)
    with pytest.raises(InputError, match="pass the rows that its Save had"):
        attention_rows(run)


def test_generated_rows_agree_with_one_pass_over_the_whole_text(vlm):
    inputs = vlm.inputs([picture(0)], ["What color is the circle?"])
    said = vlm.generate(inputs, save=NEEDS, max_new_tokens=3, stop=False)
    table = attention_rows(said)
    whole = attention_rows(vlm.run(inputs.appended(said.tokens[:, :2]), save=NEEDS))
    np.testing.assert_array_equal(table["query"], whole["query"])
    assert_close(table["attention"], whole["attention"])
    words = [vlm.processor.tokenizer.decode([i]) for i in said.tokens[0, :2].tolist()]
    assert table["token"].values[-2:].tolist() == words
    assert table["role"].values[-2:].tolist() == ["assistant"] * 2
    assert table.attrs["answer"] == said.texts[0]


def test_a_sample_that_ended_early_has_only_its_own_steps(vlm, inputs):
    said = vlm.generate(inputs, save=NEEDS, max_new_tokens=3, stop=False)
    short = type(said)(said.inputs, said.tokens, said.lengths.clone(), said.texts, said.steps)
    short.lengths[0] = 2
    prompt = (~inputs.layouts[0].mask("pad")).sum()
    assert attention_rows(short).sizes["query"] == prompt + 1


def test_it_says_what_is_missing(vlm, inputs):
    with pytest.raises(InputError, match="no sample 5"):
        attention_rows(vlm.run(inputs, save=NEEDS), sample=5)
    with pytest.raises(UnknownPointError):
        attention_rows(vlm.run(inputs, save="hook_embed"))
