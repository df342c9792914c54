"""The brain that trainer and service share: pure judgement, no torch, no network, no clock, no randomness.

`wire` is the language the two bodies speak, `detectors` are the eyes, `policy` is the judgement and
`replay` reads logs of the past. Nothing here may import `client_hook` or `monitor_server`; time comes in
as an argument, so the same code judges in the server, in a trainer whose server is gone, and over a log
from last year.
"""

__version__ = "0.1.0"
