"""`trainguard serve`, also from a checkout that is not installed."""

from __future__ import annotations

import sys

from monitor_server.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["serve"]
    main()
