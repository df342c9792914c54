"""The offline report: one HTML file without a script and without a network, about one or several replays.

`page` puts it together, `charts` draws SVG, `markup` escapes, and ``report.css`` is its only style. A browser that
obeys its content security policy loads nothing else.
"""

from trainguard.replay.report.page import report

__all__ = ["report"]
