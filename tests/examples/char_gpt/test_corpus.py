from __future__ import annotations

from pathlib import Path

import pytest
import torch

from examples.char_gpt.corpus import UNKNOWN, VOCABULARY_SIZE, BatchStream, Corpus, encode, read_corpus


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus(max_characters=700_000)


def test_the_standard_library_is_read_and_split(corpus: Corpus) -> None:
    assert len(corpus.training) + len(corpus.validation) == 700_000
    assert 0.04 < len(corpus.validation) / 700_000 < 0.06
    assert int(corpus.training.max()) < VOCABULARY_SIZE
    assert (corpus.training == UNKNOWN).float().mean() < 0.01


def test_the_same_text_is_read_every_time(corpus: Corpus) -> None:
    assert torch.equal(corpus.training, read_corpus(max_characters=700_000).training)


def test_a_python_without_its_sources_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="standard library as .py files"):
        read_corpus(folder=tmp_path)


def test_targets_are_the_inputs_one_character_later(corpus: Corpus) -> None:
    inputs, targets = BatchStream(corpus.training, seed=1, batch_size=4, context=16).at(0)
    assert inputs.shape == targets.shape == (4, 16)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])


def test_a_position_of_the_stream_is_always_the_same_batch(corpus: Corpus) -> None:
    stream = BatchStream(corpus.training, seed=1, batch_size=4, context=16)
    walked = [inputs for (inputs, _), _ in zip(stream, range(8))]
    assert torch.equal(walked[7], stream.at(7)[0])
    assert not torch.equal(walked[6], walked[7])
    other_seed = BatchStream(corpus.training, seed=2, batch_size=4, context=16)
    assert not torch.equal(walked[7], other_seed.at(7)[0])


def test_an_unknown_character_has_a_token_of_its_own() -> None:
    assert encode("aéb").tolist()[1] == UNKNOWN
