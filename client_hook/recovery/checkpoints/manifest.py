"""What stands beside a checkpoint file: whose it is, and the checksum that tells a torn one."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from client_hook.recovery.checkpoints.base import CheckpointRecord


class Manifest(BaseModel):
    """The JSON file beside a checkpoint; ``sha256`` is that of the whole file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    written_by: Literal["trainguard"] = "trainguard"
    version: Annotated[int, Field(ge=1, le=1)] = 1
    checkpoint_id: UUID
    attempt: Annotated[int, Field(ge=0)]
    step: Annotated[int, Field(ge=0)]
    saved_at: float
    file: Annotated[str, Field(pattern=r"^step-\d+-[0-9a-f]{8}\.pt$")]
    """A bare name in the same folder: never a path."""
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    torch_version: str = ""

    @property
    def name(self) -> str:
        """The manifest's own file name."""
        return self.file.removesuffix(".pt") + ".json"

    def record(self) -> CheckpointRecord:
        """As the ledger knows it."""
        return CheckpointRecord(
            self.checkpoint_id, self.attempt, self.step, "candidate", self.saved_at, self.size_bytes, "disk"
        )
