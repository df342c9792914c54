"""The senses: what can be measured at an optimizer step without changing it.

Here live the signals, one file each, and `Senses`, which composes them for the hook. A signal only reads:
no gradient, parameter, random state or autograd graph is touched, so a watched run stays bit-identical. What
judges a number (detectors) or acts on one (recovery) lives elsewhere. On CUDA no signal may wait for the
device: it returns 0-dim tensors and `Reading` brings them to the host one step late.

To add a signal: one file with a subclass of `Signal`, one line in ``SIGNALS``, at a place after the signals
whose measurements it looks at. The contract suite in ``tests/client_hook/signals`` picks it up by itself.
"""

from client_hook.signals.base import SenseOptions, Signal, Watched
from client_hook.signals.reading import Reading, as_number
from client_hook.signals.senses import SIGNALS, Senses
from client_hook.signals.tensors import gradient_norm_of

__all__ = ["SIGNALS", "Reading", "SenseOptions", "Senses", "Signal", "Watched", "as_number", "gradient_norm_of"]
