"""What is claimed about trainguard, measured; each package here is run with ``python -m``."""
