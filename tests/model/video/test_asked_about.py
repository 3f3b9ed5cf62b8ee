"""Videos in evaluations: every condition means what it means of the samples one by one."""

import pytest
from films import asked, noise, opened

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.evaluation.asking import Plan, ask
from vlmlens.evaluation.conditions import conditions_of
from vlmlens.evaluation.sets import Questions
from vlmlens.interventions import CompressVision, PermuteVision, Scale

#: Videos of several lengths, which LLaVA-OneVision cannot take in one batch.
FILMS = [
    asked(noise(4), id="short", answer="it"),
    asked(noise(6, seed=1), id="long", answer="it"),
]
SCALED = Scale(point="hook_embed", where=vl.Where(positions="vision"), by=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llava_onevision", "internvl"])
def test_every_condition_is_the_samples_one_by_one(name):
    vlm = opened(name)
    plan = Plan(
        conditions_of("clean,permuted,text-only,scale:0.5,blur:1"),
        permutations=2,
        max_new_tokens=4,
    )
    questions = Questions("films", FILMS, None)
    plan.refuse(questions)
    found = ask(vlm, questions, plan, progress=False)
    assert found["error"].isna().all()
    assert len(found) == len(FILMS) * (1 + 2 + 1 + 1 + 1)
    assert found.groupby("sample")["picture"].nunique().tolist() == [1, 1]
    assert (found["picture"] != "").all()
    said = {}
    for row in found.itertuples():
        sample = next(each for each in FILMS if each.id == row.sample)
        edits = {
            "permuted": lambda row: [PermuteVision(seed=int(row.permutation))],
            "scale:0.5": lambda row: [SCALED],
            "blur:1": lambda row: [CompressVision(rows=1, columns=1, repeat=True)],
        }.get(row.condition, lambda row: [])(row)
        shown = sample.without_images() if row.condition == "text-only" else sample
        alone = vlm.generate(vlm.inputs(shown), edits, max_new_tokens=4)
        assert row.answer == alone.texts[0], row
        said[row.sample, row.condition, row.permutation] = row.answer
    assert len({*said.values()}) > 1


def test_frames_have_no_one_grid_to_pool_to():
    vlm = opened("internvl")
    with pytest.raises(InputError, match="several tiles has no one grid"):
        vlm.run(vlm.inputs(FILMS[0]), CompressVision(rows=1, columns=1))


def test_a_question_without_anything_to_see_is_refused():
    plan = Plan(conditions_of("clean,permuted"))
    plan.refuse(Questions("films", FILMS, None))
    with pytest.raises(InputError, match="'blind' has no picture and no video, so permuted would"):
        plan.refuse(Questions("mixed", [*FILMS, vl.Sample("Hm?", id="blind")], None))
    Plan(conditions_of("clean")).refuse(Questions("mixed", [vl.Sample("Hm?", id="blind")], None))
