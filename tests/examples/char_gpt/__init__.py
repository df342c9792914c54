"""The parts of the demo, each by itself; the whole of it is in `tests.whole`."""
