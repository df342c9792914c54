"""What can go wrong in the hands, drawn as a tree.

AttachError (client_hook.errors)
    FolderUnusable      a folder for checkpoints or journal that cannot be used
    StateNotStorable    something in the training's state that no checkpoint could give back
    JournalLocked       another trainer works in this folder
    JournalUnreadable   a torn, foreign or newer journal
CheckpointInvalid(ValueError)    found before anything was touched: the command is refused
RestoreFailed(RuntimeError)      found after something was touched: the training must halt
JournalNotWritten(OSError)       the disk refused; what was on it before is still there
"""

from __future__ import annotations

from client_hook.errors import AttachError


class FolderUnusable(AttachError):
    """The folder is missing its parent, is a file, or cannot be written; names the folder and the remedy."""


class StateNotStorable(AttachError):
    """A part of the training's state cannot be written, or not be read back safely; names the part."""


class JournalLocked(AttachError):
    """Another process trains in this folder; names the folder and, where known, the process."""


class JournalUnreadable(AttachError):
    """The journal is torn, foreign, or of a newer version; a copy was kept beside it."""


class CheckpointInvalid(ValueError):
    """The checkpoint cannot be restored into this training; nothing was touched."""


class RestoreFailed(RuntimeError):
    """A restore began and could not be completed, twice: the model in memory must not train on."""


class JournalNotWritten(OSError):
    """The journal could not be written; its former content is intact, in memory and on the disk."""
