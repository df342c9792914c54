"""What must outlive the process and is never rewound: identity, commands handled, multiplier, what policy tried.

It stands beside the checkpoints and never inside one. A rollback gives back the model of before; if it gave back
this too, the hook would forget what it already tried and do the same thing again for ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID, uuid4

from pydantic import Field, JsonValue, ValidationError

from client_hook.durable_file import remove_leftovers, write_bytes_durably
from client_hook.guard import Complaints
from client_hook.recovery.errors import FolderUnusable, JournalNotWritten, JournalUnreadable
from client_hook.recovery.folder import usable_folder
from client_hook.recovery.folder_lock import FolderLock
from trainguard.policy import Playbook, PolicyMemory
from trainguard.wire import Acknowledgement, CheckpointReport, Command, RunState, WireModel
from trainguard.wire.base import Attempt, Revision

HANDLED_KEPT = 1_000
"""Answers kept, the newest: a service repeats a command for minutes, not for a thousand commands."""

UNFINISHED: tuple[RunState, ...] = ("running", "failed")
"""How the journal of a run stands that can be taken up: its process was killed, or an exception ended it."""

_logger = logging.getLogger("trainguard")


class JournalContents(WireModel):
    """One run's page. It only grows, as the wire does: a newer trainguard reads every older one."""

    written_by: Literal["trainguard"]
    version: Annotated[int, Field(ge=1, le=1)]
    run_id: UUID
    run: str
    state: RunState = "running"
    attempt: Attempt = 0
    revision: Revision = 0
    lr_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The limit for gradient norms in force."""
    rewarm_steps: Annotated[int, Field(ge=0)] = 0
    """Of a warm-up that is under way; a restart goes back to before it and makes the whole of it again."""
    handled: tuple[Acknowledgement, ...] = ()
    """Oldest first, the newest `HANDLED_KEPT` of them."""
    begun: Command | None = None
    """Written down before it was applied and not completed yet."""
    policy_memory: PolicyMemory | None = None
    """What the local brain remembers."""
    told_playbook: dict[str, JsonValue] | None = None
    """The project's playbook, as the service told it last."""
    checkpoints: tuple[CheckpointReport, ...] = ()
    """The ledger's records."""

    @classmethod
    def first_page(cls, run: str) -> JournalContents:
        """A run that begins now, with an identity of its own."""
        return cls(written_by="trainguard", version=1, run_id=uuid4(), run=run)


class JournalLike(Protocol):
    """What the boundary, the hook and the local brain write down. Any thread may."""

    def page(self) -> dict[str, Any]:
        """How the run stands, as JSON values, for the ranks that have no journal of their own."""
        ...

    @property
    def run_id(self) -> UUID:
        """The run's identity."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where it stands, beside the checkpoints; ``None`` for one in memory."""
        ...

    @property
    def is_resumed(self) -> bool:
        """Whether the run began in an earlier process and did not come to its end there."""
        ...

    @property
    def attempt(self) -> int:
        """The latest attempt that is known."""
        ...

    @property
    def revision(self) -> int:
        """The latest revision that is known."""
        ...

    @property
    def lr_scale(self) -> float:
        """The multiplier in force."""
        ...

    @property
    def clip_norm(self) -> float | None:
        """The limit for gradient norms in force; ``None`` for none."""
        ...

    @property
    def rewarm_steps(self) -> int:
        """The length of a warm-up that had not ended; 0 where none was under way."""
        ...

    @property
    def policy_memory(self) -> PolicyMemory | None:
        """What the local brain asked to be remembered."""
        ...

    @property
    def project_playbook(self) -> Playbook | None:
        """The project's playbook, as the service told it last; ``None`` where it never did."""
        ...

    @property
    def checkpoints(self) -> tuple[CheckpointReport, ...]:
        """The ledger's records."""
        ...

    @property
    def interrupted(self) -> Command | None:
        """The command that an earlier process began and died over. It is never applied again: acknowledge it
        as failed with ``remember_handled``, which settles it.
        """
        ...

    def handled(self, command_id: UUID) -> Acknowledgement | None:
        """The answer that was given to a command, also by an earlier process."""
        ...

    def remember_handled(self, acknowledgement: Acknowledgement) -> None:
        """Note the answer to a command that changed nothing."""
        ...

    def begin(self, command: Command) -> None:
        """Note that ``command`` is about to be applied.

        Raises:
            JournalNotWritten: the disk refused, nothing was noted, and the command must not be applied.
        """
        ...

    def complete(
        self,
        acknowledgement: Acknowledgement,
        *,
        attempt: int,
        lr_scale: float,
        rewarm_steps: int = 0,
        clip_norm: float | None = None,
    ) -> None:
        """Note what the command that was begun has led to."""
        ...

    def remember(
        self,
        *,
        attempt: int | None = None,
        rewarm_steps: int | None = None,
        policy_memory: PolicyMemory | None = None,
        checkpoints: tuple[CheckpointReport, ...] | None = None,
        project_playbook: Playbook | None = None,
    ) -> None:
        """Note what is given, and leave the rest."""
        ...

    def finish(self, state: RunState) -> None:
        """Note how the run ended."""
        ...

    def close(self) -> None:
        """Let go; safe to call twice."""
        ...


class MemoryJournal:
    """For a training without a folder: right within the process, gone with it."""

    def __init__(self, run: str, contents: JournalContents | None = None) -> None:
        self._lock = threading.RLock()
        self._contents = contents or JournalContents.first_page(run)
        self._answers: dict[UUID, Acknowledgement] = {}
        self._interrupted: Command | None = None

    @classmethod
    def copied(cls, page: object) -> MemoryJournal:
        """Of another rank's journal, from what `page` gave there."""
        contents = JournalContents.model_validate(page)
        return cls(contents.run, contents)

    def page(self) -> dict[str, Any]:
        """How the run stands, as JSON values, for the ranks that have no journal of their own."""
        left_out = {"handled", "begun", "policy_memory", "checkpoints", "told_playbook"}
        return self._contents.model_dump(mode="json", exclude=left_out)

    @property
    def run_id(self) -> UUID:
        """See `JournalLike.run_id`."""
        return self._contents.run_id

    @property
    def folder(self) -> Path | None:
        """See `JournalLike.folder`."""
        return None

    @property
    def is_resumed(self) -> bool:
        """Never: what was known is gone with the process that knew it."""
        return False

    @property
    def attempt(self) -> int:
        """See `JournalLike.attempt`."""
        return self._contents.attempt

    @property
    def revision(self) -> int:
        """See `JournalLike.revision`."""
        return self._contents.revision

    @property
    def lr_scale(self) -> float:
        """See `JournalLike.lr_scale`."""
        return self._contents.lr_scale

    @property
    def clip_norm(self) -> float | None:
        """See `JournalLike.clip_norm`."""
        return self._contents.clip_norm

    @property
    def rewarm_steps(self) -> int:
        """See `JournalLike.rewarm_steps`."""
        return self._contents.rewarm_steps

    @property
    def policy_memory(self) -> PolicyMemory | None:
        """See `JournalLike.policy_memory`."""
        return self._contents.policy_memory

    @property
    def project_playbook(self) -> Playbook | None:
        """See `JournalLike.project_playbook`. One of a newer trainguard is as good as none."""
        told = self._contents.told_playbook
        try:
            return None if told is None else Playbook.model_validate(told)
        except ValidationError:
            return None

    @property
    def checkpoints(self) -> tuple[CheckpointReport, ...]:
        """See `JournalLike.checkpoints`."""
        return self._contents.checkpoints

    @property
    def interrupted(self) -> Command | None:
        """See `JournalLike.interrupted`."""
        return self._interrupted

    def handled(self, command_id: UUID) -> Acknowledgement | None:
        """See `JournalLike.handled`."""
        return self._answers.get(command_id)

    def remember_handled(self, acknowledgement: Acknowledgement) -> None:
        """See `JournalLike.remember_handled`."""
        with self._lock:
            self._answered(acknowledgement)

    def begin(self, command: Command) -> None:
        """See `JournalLike.begin`."""
        with self._lock:
            self._note(begun=command)

    def complete(
        self,
        acknowledgement: Acknowledgement,
        *,
        attempt: int,
        lr_scale: float,
        rewarm_steps: int = 0,
        clip_norm: float | None = None,
    ) -> None:
        """See `JournalLike.complete`."""
        with self._lock:
            self._answered(
                acknowledgement,
                attempt=attempt,
                revision=acknowledgement.revision,
                lr_scale=lr_scale,
                rewarm_steps=rewarm_steps,
                clip_norm=clip_norm,
            )

    def remember(
        self,
        *,
        attempt: int | None = None,
        rewarm_steps: int | None = None,
        policy_memory: PolicyMemory | None = None,
        checkpoints: tuple[CheckpointReport, ...] | None = None,
        project_playbook: Playbook | None = None,
    ) -> None:
        """See `JournalLike.remember`."""
        given = {
            "attempt": attempt,
            "rewarm_steps": rewarm_steps,
            "policy_memory": policy_memory,
            "checkpoints": checkpoints,
            "told_playbook": project_playbook and project_playbook.model_dump(mode="json", exclude_defaults=True),
        }
        with self._lock:
            self._note(**{name: value for name, value in given.items() if value is not None})

    def finish(self, state: RunState) -> None:
        """See `JournalLike.finish`."""
        with self._lock:
            self._note(state=state)

    def close(self) -> None:
        """See `JournalLike.close`."""

    def _answered(self, acknowledgement: Acknowledgement, **changes: Any) -> None:
        self._answers.pop(acknowledgement.command_id, None)
        self._answers[acknowledgement.command_id] = acknowledgement
        while len(self._answers) > HANDLED_KEPT:
            del self._answers[next(iter(self._answers))]
        begun = self._contents.begun
        if begun is not None and begun.command_id == acknowledgement.command_id:
            changes["begun"] = None
        if self._interrupted is not None and self._interrupted.command_id == acknowledgement.command_id:
            self._interrupted = None
        self._note(handled=tuple(self._answers.values()), **changes)

    def _note(self, **changes: Any) -> None:
        self._contents = self._contents.model_copy(update=changes)


class Journal(MemoryJournal):
    """The same in a folder, where it outlives the process: one JSON file, replaced as a whole.

    Only ``begin`` fails where the disk refuses, because a command whose beginning is not on the disk might be
    applied twice. Everything else has happened already, so it is kept in memory, complained about, and written
    with whatever is noted next.

    Args:
        folder: the checkpoints' folder, which is made if its parent exists.
        run: the name of the run.
        resume: go on with the run of that name, where the folder holds one that neither finished nor was
            halted. Otherwise a new run begins, and the former one's journal is kept under its ``run_id``.

    Raises:
        FolderUnusable: the folder cannot be made or written.
        JournalLocked: another training uses it.
        JournalUnreadable: a torn, foreign or newer journal stands there; a copy was put beside it.
    """

    def __init__(self, folder: str | os.PathLike[str], run: str, *, resume: bool = True) -> None:
        super().__init__(run)
        self._is_resumed = False
        self.path = usable_folder(folder) / "journal.json"
        self._complaints = Complaints(_logger)
        try:
            self._folder_lock = FolderLock(self.path.with_name("journal.lock"))
        except OSError as error:
            raise FolderUnusable(
                f"'{self.path.parent}' cannot be locked ({error.strerror}); give a folder that this user may write"
            ) from error
        try:
            remove_leftovers(self.path.parent)
            former = self._read()
            if former is not None and resume and former.run == run and former.state in UNFINISHED:
                self._go_on(former)
            elif former is not None:
                # Whoever takes up the wrong folder by mistake shall not lose what the former run has learnt.
                os.replace(self.path, self.path.with_name(f"journal-{former.run_id}.json"))
            self._write(self._contents)
        except OSError as error:
            self._folder_lock.release()
            raise FolderUnusable(f"'{self.path}' cannot be written ({error}); free some space") from error
        except BaseException:
            self._folder_lock.release()
            raise

    @property
    def folder(self) -> Path | None:
        """See `JournalLike.folder`."""
        return self.path.parent

    @property
    def is_resumed(self) -> bool:
        """See `JournalLike.is_resumed`."""
        return self._is_resumed

    def _go_on(self, former: JournalContents) -> None:
        self._is_resumed = True
        self._contents = former.model_copy(update={"state": "running"})
        self._answers = {answer.command_id: answer for answer in former.handled}
        self._interrupted = former.begun

    def _read(self) -> JournalContents | None:
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalUnreadable(
                f"'{self.path}' cannot be read ({error.strerror}); make it readable, or give another folder"
            ) from error
        try:
            return JournalContents.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            what = ": ".join([*(str(part) for part in first["loc"]), first["msg"]])
            copy = self._keep_copy(text)
            raise JournalUnreadable(
                f"'{self.path}' is no journal of this trainguard ({what}); a copy is kept in '{copy.name}'. "
                "Update trainguard if a newer one wrote it; otherwise remove it, and the run begins anew"
            ) from None

    def _keep_copy(self, text: bytes) -> Path:
        # Named after what it holds: a restart loop over the same bytes does not fill the disk.
        copy = self.path.with_name(f"journal.unreadable-{hashlib.sha256(text).hexdigest()[:8]}.json")
        with contextlib.suppress(OSError):
            if not copy.exists():
                write_bytes_durably(copy, text)
        return copy

    def begin(self, command: Command) -> None:
        """See `JournalLike.begin`."""
        with self._lock:
            noted = self._contents.model_copy(update={"begun": command})
            try:
                self._write(noted)
            except OSError as error:
                raise JournalNotWritten(f"'{self.path}' cannot be written ({error}); free some space") from error
            self._contents = noted

    def close(self) -> None:
        """See `JournalLike.close`."""
        self._folder_lock.release()

    def _note(self, **changes: Any) -> None:
        super()._note(**changes)
        try:
            self._write(self._contents)
        except OSError as error:
            self._complaints.say(
                "unwritten",
                "'%s' cannot be written (%s); after a crash the run would not know its latest news",
                self.path,
                error,
            )

    def _write(self, contents: JournalContents) -> None:
        if not self._folder_lock.is_held:
            raise OSError("this process has let go of it")  # the next trainer may be writing its own
        text = contents.model_dump_json(indent=1).encode()
        write_bytes_durably(self.path, text)
