from __future__ import annotations

import math

import pytest
import torch

from examples.char_gpt.corpus import VOCABULARY_SIZE, Corpus, read_corpus
from examples.char_gpt.faults import FAULTS
from examples.char_gpt.model import CharGPT, Shape, loss_of
from examples.char_gpt.training import Progress, Recipe, train

TINY = Recipe(
    steps=40,
    batch_size=8,
    warm_up_steps=5,
    evaluate_every=20,
    validation_batches=2,
    shape=Shape(VOCABULARY_SIZE, context=16, width=32, heads=2, blocks=1),
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus(max_characters=700_000)


def test_an_untrained_model_knows_nothing() -> None:
    torch.manual_seed(0)
    model = CharGPT(TINY.shape)
    tokens = torch.randint(VOCABULARY_SIZE, (4, 16))
    assert loss_of(model, tokens, tokens.roll(1)).item() == pytest.approx(math.log(VOCABULARY_SIZE), rel=0.05)


def test_the_model_does_not_look_ahead() -> None:
    torch.manual_seed(0)
    model = CharGPT(TINY.shape)
    tokens = torch.randint(VOCABULARY_SIZE, (1, 16))
    changed = tokens.clone()
    changed[0, 9:] = 0
    assert torch.equal(model(tokens)[0, :9], model(changed)[0, :9])


def test_a_width_that_does_not_divide_into_heads_is_named() -> None:
    with pytest.raises(ValueError, match="width 30 does not divide into 4 heads"):
        CharGPT(Shape(10, width=30, heads=4))


def test_a_recipe_without_room_after_its_warm_up_is_named() -> None:
    with pytest.raises(ValueError, match="steps=50"):
        Recipe(steps=50, warm_up_steps=30)


def test_it_learns_and_the_same_seed_gives_the_same_losses(corpus: Corpus) -> None:
    told: list[Progress] = []
    first = train(TINY, corpus, watch=told.append)
    assert first.final_loss < first.losses[0] - 0.5
    assert first.steps == list(range(40))
    assert sorted(first.evaluations) == [20, 40]
    assert [one.loss for one in told] == first.losses
    assert max(first.rates) == pytest.approx(TINY.peak_rate, rel=0.05)
    assert train(TINY, corpus).losses == first.losses


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_changes_nothing_before_its_onset_and_much_after(name: str, corpus: Corpus) -> None:
    fault = FAULTS[name](TINY.steps, TINY.batch_size)
    healthy, ill = train(TINY, corpus), train(TINY, corpus, fault=fault)
    assert ill.losses[: fault.onset_step] == healthy.losses[: fault.onset_step]
    assert ill.losses[fault.onset_step + 2 :] != healthy.losses[fault.onset_step + 2 :]
