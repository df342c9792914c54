"""Real text that is on every machine: the source files of Python's own standard library."""

from __future__ import annotations

import string
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

ALPHABET = "\n" + "".join(sorted(set(string.printable) - set(string.whitespace) | {" "}))
"""The characters with a token of their own: newline and printable ASCII. Fixed, so that every Python has the
same vocabulary; the one other character in ten thousand becomes `UNKNOWN`."""

UNKNOWN = len(ALPHABET)
VOCABULARY_SIZE = len(ALPHABET) + 1

VALIDATION_SHARE = 20
"""Every 20th piece of the text is kept back for validation."""

PIECE_CHARACTERS = 8_192
"""The text is split between training and validation in pieces of this length, so both see every kind of file."""

Batch = tuple[Tensor, Tensor]
"""Inputs and targets, both int64 of shape (batch, context)."""

Corruption = Callable[[int, Batch], Batch]
"""Given a batch and its position in the stream, what really arrives."""


@dataclass(frozen=True)
class Corpus:
    """Encoded text, int64 of shape (characters,), in two parts that share no character."""

    training: Tensor
    validation: Tensor


def encode(text: str) -> Tensor:
    """The text as token numbers, int64 of shape (len(text),).

    >>> encode("a b").tolist() == [ALPHABET.index(character) for character in "a b"]
    True
    >>> encode("é").item() == UNKNOWN
    True
    """
    number = {character: index for index, character in enumerate(ALPHABET)}
    return torch.tensor([number.get(character, UNKNOWN) for character in text], dtype=torch.int64)


def read_corpus(max_characters: int = 2_000_000, folder: Path | None = None) -> Corpus:
    """Read ``*.py`` of the standard library's own folder, in the order of their names, up to a bound.

    Sub-packages are left out: ``site-packages`` and ``test`` differ from machine to machine, these files do not.

    Raises:
        FileNotFoundError: where this Python carries no source (a zipped or stripped installation).
    """
    folder = folder or Path(sysconfig.get_paths()["stdlib"])
    pieces: list[str] = []
    length = 0
    for path in sorted(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        pieces.append(text[: max_characters - length])
        length += len(pieces[-1])
        if length >= max_characters:
            break
    if length < 4 * VALIDATION_SHARE * PIECE_CHARACTERS:
        raise FileNotFoundError(
            f"{folder} holds only {length} characters of Python source, too few to train on; "
            "use a Python that carries its standard library as .py files"
        )
    tokens = torch.split(encode("".join(pieces)), PIECE_CHARACTERS)
    return Corpus(
        training=torch.cat([piece for index, piece in enumerate(tokens) if index % VALIDATION_SHARE]),
        validation=torch.cat(list(tokens[::VALIDATION_SHARE])),
    )


def batch_of(text: Tensor, generator: torch.Generator, batch_size: int, context: int) -> Batch:
    """A batch of random windows of the text and, as targets, the same windows one character later."""
    starts = torch.randint(len(text) - context - 1, (batch_size, 1), generator=generator)
    windows = text[starts + torch.arange(context + 1)]
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


class BatchStream:
    """An endless stream of batches in which position ``n`` is always the same batch, whoever asks.

    That makes the demo's three trainings see the same data, and gives a corrupted pocket a fixed place in the
    stream: a rolled-back training does not go back in its data, so it has passed what lies behind it.
    """

    def __init__(
        self, text: Tensor, *, seed: int, batch_size: int, context: int, corruption: Corruption | None = None
    ) -> None:
        self._text = text
        self._seed = seed
        self._batch_size = batch_size
        self._context = context
        self._corruption = corruption

    def at(self, position: int) -> Batch:
        """The batch at this position, from 0."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + position)
        batch = batch_of(self._text, generator, self._batch_size, self._context)
        return self._corruption(position, batch) if self._corruption is not None else batch

    def __iter__(self) -> Iterator[Batch]:
        position = 0
        while True:
            yield self.at(position)
            position += 1
