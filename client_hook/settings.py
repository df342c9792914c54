"""What a user asked for, checked before anything is touched.

Every check here is one that would otherwise fail in the night: each error names the argument and the remedy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import urlsplit

from client_hook.errors import AttachError
from client_hook.signals import SenseOptions
from trainguard.detectors import checked_overrides
from trainguard.playbooks import PlaybookUnreadable, playbook_from_mapping, read_playbook
from trainguard.policy import Playbook
from trainguard.wire import Mode

MODES: tuple[str, ...] = get_args(Mode)
SENSITIVITIES = ("low", "normal", "high")


@dataclass(frozen=True)
class HookSettings:
    """The arguments of ``attach`` that are plain values, with the environment's defaults filled in."""

    run: str
    project: str
    server: str | None
    token: str | None
    mode: Mode
    checkpoint_every: int
    keep: int
    in_memory_bytes: int | None
    synchronous: bool
    guard: bool
    strict_guard: bool
    sensitivity: str
    playbook: Playbook | None
    detectors: dict[str, dict[str, float]]
    tags: dict[str, str] = field(default_factory=dict)
    senses: SenseOptions = field(default_factory=SenseOptions)

    @classmethod
    def from_arguments(
        cls,
        *,
        run: str | None,
        project: str | None,
        server: str | None,
        token: str | None,
        mode: str,
        checkpoint_every: int,
        keep: int,
        in_memory_bytes: int | None = None,
        synchronous: bool,
        guard: bool | str | None,
        sensitivity: str,
        playbook: Playbook | Mapping[str, Any] | str | os.PathLike[str] | None,
        detectors: Mapping[str, Mapping[str, float]] | None,
        tags: Mapping[str, str] | None,
        layers_every: int | None = 50,
        exact_update_ratio_every: int | None = None,
        trace_modules: bool = False,
        activations: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> HookSettings:
        """Check the arguments and fill in ``TRAINGUARD_SERVER``, ``TRAINGUARD_TOKEN``, ``TRAINGUARD_PROJECT``."""
        environment = os.environ if environment is None else environment
        if mode not in MODES:
            raise AttachError(f"mode={mode!r} is unknown; use one of {_listed(MODES)}")
        if sensitivity not in SENSITIVITIES:
            raise AttachError(f"sensitivity={sensitivity!r} is unknown; use one of {_listed(SENSITIVITIES)}")
        if guard not in (None, True, False, "strict"):
            raise AttachError(f"guard={guard!r} is unknown; use True, False, 'strict' or leave it out")
        return cls(
            run=_name("run", run or environment.get("TRAINGUARD_RUN") or _script_name()),
            project=_name("project", project or environment.get("TRAINGUARD_PROJECT") or "default"),
            server=_address(server or environment.get("TRAINGUARD_SERVER") or None),
            token=token or environment.get("TRAINGUARD_TOKEN") or None,
            mode=mode,  # type: ignore[arg-type]
            checkpoint_every=_positive("checkpoint_every", checkpoint_every),
            keep=_positive("keep", keep),
            in_memory_bytes=_positive_or_never("in_memory_bytes", in_memory_bytes),
            synchronous=bool(synchronous),
            # `observe` changes nothing unless it is asked for by name; `act` lets no bad update through.
            guard=mode == "act" if guard is None else bool(guard),
            strict_guard=guard == "strict",
            sensitivity=sensitivity,
            playbook=_playbook(playbook),
            detectors=_detectors(detectors),
            tags=_tags(tags),
            senses=SenseOptions(
                layers_every=_positive_or_never("layers_every", layers_every),
                exact_update_ratio_every=_positive_or_never("exact_update_ratio_every", exact_update_ratio_every),
                trace_modules=bool(trace_modules),
                activations=_pattern(activations),
            ),
        )


def _script_name() -> str:
    script = os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0]
    return script if script and not script.startswith("-") else "training"


def _name(argument: str, value: object) -> str:
    if not isinstance(value, str):
        raise AttachError(f"{argument}={value!r} is not a name; give a string of 1 to 200 characters")
    name = value.strip()
    if not 1 <= len(name) <= 200 or any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise AttachError(f"{argument}={value!r} is no usable name; give 1 to 200 printable characters")
    return name


def _address(server: object) -> str | None:
    if server is None:
        return None
    if not isinstance(server, str):
        raise AttachError(f"server={server!r} is not an address; give a string such as 'http://127.0.0.1:8321'")
    try:
        parts = urlsplit(server.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise AttachError(f"server={server!r} is not an address; give one such as 'http://127.0.0.1:8321'")
    return server.strip().rstrip("/")


def _positive(argument: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise AttachError(f"{argument}={value!r} is not usable; give a whole number of at least 1")
    return value


def _positive_or_never(argument: str, value: object) -> int | None:
    return None if value is None else _positive(argument, value)


def _pattern(activations: object) -> str | None:
    if activations is not None and not isinstance(activations, str):
        raise AttachError(
            f"activations={activations!r} is no pattern; give a string of module names such as 'transformer.h.*'"
        )
    return activations


def _playbook(playbook: object) -> Playbook | None:
    if playbook is None or isinstance(playbook, Playbook):
        return playbook
    try:
        if isinstance(playbook, (str, os.PathLike)):
            return read_playbook(playbook)
        if isinstance(playbook, Mapping):
            return playbook_from_mapping(playbook)
    except PlaybookUnreadable as error:
        raise AttachError(str(error)) from None
    raise AttachError(
        f"playbook is a {type(playbook).__name__}; give the path of a YAML file, a mapping, or a Playbook"
    )


def _detectors(detectors: object) -> dict[str, dict[str, float]]:
    if detectors is None:
        return {}
    try:
        return checked_overrides(detectors)
    except ValueError as error:
        raise AttachError(f"detectors: {error}") from None


def _tags(tags: object) -> dict[str, str]:
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        raise AttachError(f"tags must be a mapping of names to words, not {type(tags).__name__}")
    if len(tags) > 64:
        raise AttachError(f"tags has {len(tags)} entries; at most 64 are kept")
    return {str(name): str(value) for name, value in tags.items()}


def _listed(words: Sequence[str]) -> str:
    return ", ".join(repr(word) for word in words)
