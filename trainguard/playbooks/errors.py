"""What is wrong with a playbook, in a form that an editor can jump to."""

from __future__ import annotations


class PlaybookUnreadable(ValueError):
    """A playbook that cannot be followed. Its text has a line per fault, each with the place and the remedy."""

    def __init__(self, source: str, faults: list[tuple[int | None, str]]) -> None:
        self.source = source
        self.faults = faults
        """Line (from 1; ``None`` where there are no lines) and sentence of each fault, in the order of the file."""
        super().__init__("\n".join(self._told(line, sentence) for line, sentence in faults))

    def _told(self, line: int | None, sentence: str) -> str:
        return f"{self.source}: {sentence}" if line is None else f"{self.source}, line {line}: {sentence}"
