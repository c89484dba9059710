"""Speed and memory, each figure against a bare loop or a peer within one run: `make bench`."""
