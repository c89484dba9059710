"""``hydra/sweeper=study``: a grid that can be stopped anywhere and goes on where it was.

Hydra's own sweeper numbers trials, but runs every one each time and raises at the first failure.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

VERB = "train"  # the one that takes -m


@dataclass
class StudySweeperConf:
    """Settings of ``hydra.sweeper``."""

    _target_: str = "hydra_plugins.leukemia_plugins.study_sweeper.StudySweeper"
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store("study", StudySweeperConf, group="hydra/sweeper", provider="leukemia")


class StudySweeper(Sweeper):
    """Launches those trials of a grid that are not done, and concludes the study.

    Args:
        params: lists by setting, as Hydra's own sweeper takes them; the command line replaces
            a list of the same setting.
    """

    def __init__(self, params: dict[str, Any]) -> None:
        """Store the lists."""
        self.params = params
        self.context: HydraContext
        self.config: DictConfig
        self.launcher: Launcher

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands over."""
        self.context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the study.

        Args:
            arguments: the overrides of the command line.

        Raises:
            UserError: settings that cannot be, a folder of another study, or failed trials.
        """
        # Imported here, because Hydra imports every plugin at each start, also for help.
        from leukemia.study import trials
        from leukemia.study.conclude import conclude

        overrides, varied = self._grid([*self._lines(), *arguments])
        folder = Path(str(self.config.hydra.sweep.dir))
        composed = [self._compose(trial) for trial in overrides]
        waiting = trials.open_study(folder, self.config.study, varied, composed)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        results: Sequence[JobReturn] = []
        if waiting:
            # Named here, since Hydra would number the trials that are left from 0 on.
            chosen = [[*overrides[n], f"hydra.sweep.subdir={n}"] for n in waiting]
            results = self._launch(folder, waiting, chosen)
        conclude(folder, self.config.study, composed[0])
        return [results]

    def _launch(
        self, folder: Path, numbers: Sequence[int], overrides: Sequence[Sequence[str]]
    ) -> Sequence[JobReturn]:
        """Run trials, and note what the launcher says of those that could not note it."""
        from leukemia.study import trials

        try:
            results = self.launcher.launch(overrides, initial_job_idx=0)
        except Exception as error:
            # A launcher that lost one job may lose the others' answers with it; what they
            # did lies in their folders.
            trials.note_lost(folder, numbers, error)
            return []
        for number, result in zip(numbers, results, strict=True):
            trials.note_failed(folder, number, result._return_value)
        return results

    def _lines(self) -> list[str]:
        """The lists of the settings, as typed."""
        from leukemia.settings.arguments import quoted

        return [
            quoted(f"{key}={'null' if value is None else value}", VERB, sweep=True)
            for key, value in self.params.items()
        ]

    def _grid(self, lines: list[str]) -> tuple[list[list[str]], list[dict[str, str]]]:
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        choices: dict[str, list[str]] = {}
        swept: set[str] = set()
        for override in parser.parse_overrides(lines):
            key = override.get_key_element()
            swept.discard(key)
            if not override.is_sweep_override():
                choices[key] = [str(override.get_value_element_as_str())]
            elif override.is_discrete_sweep():
                choices[key] = list(override.sweep_string_iterator())
                swept.add(key)
            else:
                raise HydraException(f"A study takes lists, but got '{override.input_line}'.")
        overrides, varied = [], []
        excluded = OmegaConf.select(self.config, "study.exclude", default=[])
        for values in itertools.product(*choices.values()):
            trial = dict(zip(choices, values, strict=True))
            if not any(_matches(trial, pattern) for pattern in excluded):
                overrides.append([f"{key}={value}" for key, value in trial.items()])
                varied.append({k.lstrip("+"): v for k, v in trial.items() if k in swept})
        return overrides, varied

    def _compose(self, overrides: list[str]) -> DictConfig:
        """Return the settings of a trial.

        Raises:
            UserError: one that nothing reads, or of another kind.
        """
        from leukemia.settings import schema

        cfg = self.context.config_loader.load_sweep_config(self.config, overrides)
        chosen, before = dict(cfg.hydra.runtime.choices), HydraConfig.instance().cfg
        HydraConfig.instance().set_config(cfg)  # for settings that refer to it
        try:
            with open_dict(cfg):
                del cfg["hydra"]
            schema.check(cfg, VERB, chosen)
        finally:
            HydraConfig.instance().cfg = before
        return cfg


def _matches(trial: dict[str, str], pattern: dict[str, Any]) -> bool:
    return all(fnmatchcase(trial.get(str(key), ""), str(text)) for key, text in pattern.items())
