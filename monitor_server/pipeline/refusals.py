"""Why the pipeline says no. Each is the sender's to mend; anything else that is raised is our own fault.

Exception
├── UnknownRun
├── UnknownIncident
└── Refused
    ├── DescriptionRefused
    ├── EnvelopeRefused
    ├── CommandRefused
    └── IncidentRefused
"""

from __future__ import annotations

from uuid import UUID


class UnknownRun(Exception):
    """No such run is registered; the trainer registers again and repeats the envelope."""

    def __init__(self, run_id: UUID) -> None:
        super().__init__(f"run_id {run_id} is not registered here: POST its description to /api/v1/runs first")


class UnknownIncident(Exception):
    """No such incident."""

    def __init__(self, incident_id: UUID) -> None:
        super().__init__(f"there is no incident {incident_id}; /api/v1/incidents lists those there are")


class Refused(Exception):
    """A message that cannot be followed; ``field_path`` is the path of what to mend."""

    def __init__(self, field_path: str, message: str) -> None:
        super().__init__(message)
        self.field_path = field_path


class DescriptionRefused(Refused):
    """A run that cannot be judged as it describes itself."""


class EnvelopeRefused(Refused):
    """An envelope that contradicts itself."""


class CommandRefused(Refused):
    """A person's command that the trainer could not carry out, or that nothing stands behind any more."""


class IncidentRefused(Refused):
    """Something that cannot be done to an incident as it stands."""
