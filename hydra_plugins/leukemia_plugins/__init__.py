"""Hydra plugins of this project: Hydra takes sweepers and launchers from `hydra_plugins` only."""
