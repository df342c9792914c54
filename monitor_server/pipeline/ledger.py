"""What one transaction is still to write: gathered envelope by envelope, written a table at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Concatenate
from uuid import UUID

from sqlalchemy import Connection
from typing_extensions import ParamSpec

from monitor_server.storage import observations, rollups, runs, senders
from monitor_server.storage.observations import PackedRow
from monitor_server.storage.rollups import PackedRollup
from monitor_server.storage.senders import SenderRow

Arguments = ParamSpec("Arguments")


@dataclass(slots=True)
class Ledger:
    """Writes that wait. One statement for fifty envelopes costs little more than one for a single envelope."""

    observations: list[PackedRow] = field(default_factory=list)
    """Rows that are new by construction: steps beyond the last one of the attempt in force."""
    rollups: list[PackedRollup] = field(default_factory=list)
    """Buckets that are complete."""
    senders: dict[tuple[UUID, UUID], SenderRow] = field(default_factory=dict)
    """By (run, sender)."""
    runs: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    """Columns to set, by run."""
    others: list[Callable[[Connection], Any]] = field(default_factory=list)
    """What is too rare to be gathered by table, in order."""

    def later(
        self,
        write: Callable[Concatenate[Connection, Arguments], Any],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> None:
        """Call ``write`` with the connection and these arguments when the time has come."""
        self.others.append(lambda connection: write(connection, *arguments, **named))

    def take_over(self, page: Ledger) -> None:
        """Add what another ledger holds, as later than all that is here."""
        self.observations += page.observations
        self.rollups += page.rollups
        self.senders |= page.senders
        for run_id, values in page.runs.items():
            self.runs[run_id] = self.runs.get(run_id, {}) | values
        self.others += page.others

    def write(self, connection: Connection, now: float) -> None:
        """Write everything, and be empty again.

        Raises what the database raises; an `IntegrityError` where an observation was not new after all.
        """
        observations.add_new(connection, self.observations)
        rollups.add_new(connection, self.rollups)
        senders.save_all(connection, self.senders, now)
        runs.change_all(connection, self.runs)
        for write in self.others:
            write(connection)
        self.observations, self.rollups, self.senders, self.runs, self.others = [], [], {}, {}, []
