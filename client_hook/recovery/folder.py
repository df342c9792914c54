"""Is this folder fit to hold checkpoints? Asked at attach, not at the first save in the night."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from client_hook.recovery.errors import FolderUnusable


def usable_folder(folder: str | os.PathLike[str]) -> Path:
    """Make ``folder`` if its parent exists, and prove by writing that it can be written.

    The parent is not made: a path that is wrong higher up is a mistyped path, and a trainer that makes it
    writes its checkpoints where nobody looks.

    Raises:
        FolderUnusable: the parent is missing, something else has that name, or writing failed.
    """
    path = Path(folder).expanduser()
    if not str(folder).strip():
        raise FolderUnusable("the checkpoints folder is an empty name; give a folder such as 'checkpoints/'")
    if path.exists() and not path.is_dir():
        raise FolderUnusable(f"'{path}' is a file, not a folder; name a folder for the checkpoints")
    if not path.exists():
        if not path.absolute().parent.is_dir():
            raise FolderUnusable(
                f"the folder '{path}' cannot be made because '{path.absolute().parent}' does not exist; "
                "make that folder first or correct the path"
            )
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise FolderUnusable(f"the folder '{path}' cannot be made ({error.strerror}); {_REMEDY}") from error
    # Permission bits mean nothing to root and to network file systems: only writing tells.
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".trainguard-probe-") as probe:
            probe.write(b"probe")
            probe.flush()
    except OSError as error:
        raise FolderUnusable(f"the folder '{path}' cannot be written ({error.strerror}); {_REMEDY}") from error
    return path


_REMEDY = "give a folder that this user may write, on a disk with space"
