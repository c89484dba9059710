"""Kills, damaged files and fuzzed settings by the hundred: `python -m campaign`."""
