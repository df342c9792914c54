"""Playbooks of people's own, as YAML: read with errors that name the line, and told in sentences.

What a playbook means lives in `trainguard.policy.playbook`; here are only its two shapes for people. Reading needs
PyYAML (``pip install 'trainguard[cli]'``); a playbook as a Python mapping does not.
"""

from trainguard.playbooks.errors import PlaybookUnreadable
from trainguard.playbooks.reading import parse_playbook, playbook_from_mapping, read_playbook
from trainguard.playbooks.telling import as_yaml, tell_playbook

__all__ = [
    "PlaybookUnreadable",
    "as_yaml",
    "parse_playbook",
    "playbook_from_mapping",
    "read_playbook",
    "tell_playbook",
]
