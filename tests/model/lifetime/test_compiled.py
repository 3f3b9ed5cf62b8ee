"""torch.compile: fast while nobody watches, stepped out of by whoever does."""

import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens.errors import UnsupportedModelError
from vlmlens.interventions import KnockOut, PatchFrom, ZeroAblate
from vlmlens.probes import cmb

EDIT = ZeroAblate(point="blocks.1.hook_mlp_out")


def decoder(model):
    return model.hf_model.model.language_model


@pytest.fixture
def both():
    """The same model twice, its decoder compiled the second time; and how often that code ran."""
    torch._dynamo.reset()
    runs = []

    def backend(graph, examples):
        def counted(*args):
            runs.append(1)
            return graph(*args)

        return counted

    with vl.HookedVLM(*build("llava")) as plain, vl.HookedVLM(*build("llava")) as compiled:
        decoder(compiled).compile(backend=backend)
        yield plain, compiled, runs
    torch._dynamo.reset()


def ask(model):
    return model.inputs([picture(0), picture(1)], list(QUESTIONS))


@pytest.mark.slow
def test_nobody_watches_and_compiled_code_runs(both):
    plain, compiled, runs = both
    logits = compiled.run(ask(compiled)).logits
    assert runs
    torch.testing.assert_close(logits, plain.run(ask(plain)).logits)
    said = [model.generate(ask(model), max_new_tokens=3).tokens for model in (plain, compiled)]
    assert torch.equal(*said)


@pytest.mark.slow
def test_whoever_watches_or_edits_steps_out_of_it(both):
    plain, compiled, runs = both
    for model in (plain, compiled):
        model.run(ask(model))
    before = len(runs)
    found = []
    for model in (plain, compiled):
        inputs = ask(model)
        run = model.run(inputs, [EDIT], save=["blocks.*.hook_resid_post", *cmb.NEEDS])
        cut = model.run(inputs, [KnockOut(where=vl.Where(keys="vision"))])
        hooked = model.run_with_hooks(inputs, fwd_hooks=[("hook_embed", lambda x, hook: x * 2)])
        said = model.generate(inputs, [EDIT], max_new_tokens=3)
        found.append([run.logits, *run.saved.values(), cut.logits, hooked, said.steps[-1].logits])
    assert len(runs) == before
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    after = compiled.run(ask(compiled)).logits
    assert len(runs) > before
    torch.testing.assert_close(after, plain.run(ask(plain)).logits)


@pytest.mark.slow
def test_cells_resume_from_a_prefill(both):
    _, compiled, _ = both
    compiled.run(ask(compiled))
    inputs = compiled.inputs(picture(0), QUESTIONS[0])
    other = compiled.inputs(picture(1), QUESTIONS[0])
    source = compiled.run(other, save="blocks.1.hook_resid_pre").saved
    edit = PatchFrom(
        point="blocks.1.hook_resid_pre", where=vl.Where(positions="last"), source=source
    )
    found = compiled.resume(compiled.prefill(inputs), [[edit]])
    assert not found.whole
    whole = compiled.run(inputs, [edit]).logits[:, -1:]
    assert_close(found.logits, whole)


def test_a_model_in_a_wrapper_is_refused():
    model, processor = build("llava")
    with pytest.raises(UnsupportedModelError, match="compile its language model in place"):
        vl.HookedVLM(torch.compile(model, backend="eager"), processor)
