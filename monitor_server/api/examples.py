"""Examples of bodies for the OpenAPI document, by the name of their model; a test reads each with that model."""

from __future__ import annotations

from typing import Any

_RUN = "3f8e6b1c-5f0e-4d53-9a43-0a6d0b3c2f11"
_CHECKPOINT = "b41c7d8e-2f69-4a0c-8f7e-6d1f0c9a5b22"

EXAMPLES: dict[str, Any] = {
    "RunDescription": {
        "run_id": _RUN,
        "run": "char-gpt",
        "project": "demo",
        "mode": "advise",
        "started_at": 1_790_000_000.0,
        "total_steps": 10_000,
        "tags": {"task": "pre-training"},
    },
    "Envelope": {
        "run_id": _RUN,
        "sender": "0d9f3c1e-8b7a-4f43-8a52-2c3f1b0e7d33",
        "sequence": 1,
        "sent_at": 1_790_000_010.0,
        "attempt": 0,
        "revision": 0,
        "blocks": [
            {
                "attempt": 0,
                "steps": [0, 1],
                "observed_at": [1_790_000_008.0, 1_790_000_009.0],
                "signals": {"loss": [4.2, "NaN"], "grad_norm": [1.3, None]},
            }
        ],
    },
    "PersonalCommand": {
        "orders": [
            {"action": "rollback", "checkpoint_id": _CHECKPOINT},
            {"action": "lower_learning_rate", "factor": 0.5},
        ],
        "issued_by": "ada",
        "reason": "The new shard is broken.",
    },
    "Approval": {"approved_by": "ada"},
    "Word": {"by": "ada", "comment": "I am looking at it."},
    "Comment": {"by": "ada", "comment": "It began with the new shard."},
    "Verdict": {"by": "ada", "comment": "", "decision_id": "7e2b9a40-1d6c-5b8e-9f3a-4c5d6e7f8a44"},
    "WishedSilence": {"project": "demo", "kind": "plateau", "seconds": 3600, "reason": "Known."},
    "WishedToken": {"name": "trainers", "scopes": ["ingest"], "project": "demo", "seconds": 7_776_000},
    "Rotation": {"grace_seconds": 86_400},
    "SignIn": {"token": "tg_0123456789ab_the-secret-part"},
    "AnnotationChange": {"tags": {"owner": "ada"}, "notes": "Diverges when warm-up is short.", "archived": False},
    "PlaybookDocument": {"extends": "default", "name": "careful", "probation_steps": 200},
}
