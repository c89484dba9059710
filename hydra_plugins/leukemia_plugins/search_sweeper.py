"""``study=search``: trials that Optuna proposes, a few at a time.

Hydra's own plugin (hydra-optuna-sweeper 1.3) needs Optuna before 3.0, prunes nothing and starts
from trial 0 each time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from hydra_plugins.leukemia_plugins.study_sweeper import StudySweeper

if TYPE_CHECKING:
    from leukemia.study.record import Trial
    from leukemia.study.search import Choices, Interval, Proposal


class SearchSweeper(StudySweeper):
    """Launches what a search proposes until it is over, and concludes the study."""

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the search, or go on with it.

        Args:
            arguments: the overrides of the command line.

        Raises:
            UserError: settings that cannot be, a folder of another study, or failed trials.
        """
        # Imported here, because Hydra imports every plugin at each start, also for help.
        from leukemia.settings.settled import settle
        from leukemia.study import trials
        from leukemia.study.conclude import conclude
        from leukemia.study.record import STARTED, WAITING, trial_folder
        from leukemia.study.search import Search

        fixed, space = self._space([*self._lines(), *arguments])
        folder, study = Path(str(self.config.hydra.sweep.dir)), self.config.study
        here = self._compose(fixed)
        settle(here, multirun=True)
        search = Search(folder, study, space)
        print(f"{folder}: {search.left()} of {study.trials} trials to run.", flush=True)
        answers: list[Sequence[JobReturn]] = []
        while True:
            search.tell([_read(folder, one) for one in search.running()])
            batch = search.next(int(OmegaConf.select(self.config, "n", default=1)))
            if not batch:
                break
            chosen = []
            for one in batch:
                trial = [*fixed, *(f"{k}={v}" for k, v in one.settings.items())]
                path = trial_folder(folder, one.number)
                trials.check_trial(path, one.settings, self._compose(trial))
                chosen.append([*trial, f"hydra.sweep.subdir={one.number}"])
            trials.note_trials(folder, study, [one.settings for one in search.proposed()])
            answers.append(self._launch(folder, [one.number for one in batch], chosen))
            if any(_read(folder, one).status in (STARTED, WAITING) for one in batch):
                break  # cut off, as by a cluster's time limit: the same command goes on
        conclude(folder, study, here)
        return answers

    def _space(self, lines: list[str]) -> "tuple[list[str], dict[str, Interval | Choices]]":
        """Return what all trials share, and what is searched; a later line replaces an earlier."""
        from leukemia.study.search import Choices, Interval

        parser = OverridesParser.create(config_loader=self.context.config_loader)
        fixed: dict[str, str] = {}
        space: dict[str, Interval | Choices] = {}
        for override in parser.parse_overrides(lines):
            key, value = override.get_key_element(), override.value()
            fixed.pop(key, None)
            space.pop(key, None)
            if not override.is_sweep_override():
                fixed[key] = str(override.get_value_element_as_str())
            elif isinstance(value, IntervalSweep):
                ends = float(value.start or 0), float(value.end or 0)
                space[key] = Interval(*ends, log="log" in value.tags)
            else:
                space[key] = Choices(tuple(override.sweep_string_iterator()))
        return [f"{key}={value}" for key, value in fixed.items()], space


def _read(folder: Path, one: "Proposal") -> "Trial":
    from leukemia.study.record import read_trial, trial_folder

    return read_trial(one.number, trial_folder(folder, one.number), one.settings)
