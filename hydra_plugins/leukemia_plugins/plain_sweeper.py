"""``hydra/sweeper=plain``: the jobs of ``-m`` without a study.

Hydra's own sweeper starts jobs before it knows whether the later ones can be, and ends at the
first that fails.
"""

import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from hydra_plugins.leukemia_plugins.study_sweeper import StudySweeper, StudySweeperConf
from leukemia.errors import UserError


@dataclass
class PlainSweeperConf(StudySweeperConf):
    """Settings of ``hydra.sweeper``."""

    _target_: str = "hydra_plugins.leukemia_plugins.plain_sweeper.PlainSweeper"


ConfigStore.instance().store("plain", PlainSweeperConf, group="hydra/sweeper", provider="leukemia")


class PlainSweeper(StudySweeper):
    """Launches every combination, once all are known to be possible.

    Args:
        params: lists by setting; the command line replaces a list of the same setting.
    """

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run all jobs; one that fails does not stop the others.

        Args:
            arguments: the overrides of the command line.

        Raises:
            UserError: settings that cannot be, and then no job was started; or jobs that failed.
                Each is named.
        """
        from leukemia.compose.model import check_settings
        from leukemia.settings.settled import settle

        overrides, varied = self._grid([*self._lines(), *arguments])
        named = [", ".join(f"{k}={v}" for k, v in one.items()) or "one job" for one in varied]
        wrong = {}
        for job, words in zip(overrides, named, strict=True):
            try:
                cfg = self._compose(job)
                if cfg.resume is None:
                    settle(cfg, multirun=True)
                    check_settings(cfg)
            except UserError as error:
                wrong[words] = str(error)
        if wrong:
            what = f"{len(wrong)} of {len(named)} jobs cannot be, so none was started"
            raise UserError(_told(what, wrong))
        folder = Path(str(self.config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        results = self.launcher.launch(overrides, initial_job_idx=0)
        failed = {}
        for number, (words, result) in enumerate(zip(named, results, strict=True)):
            if result.status == JobStatus.FAILED:
                cause = result._return_value
                if not isinstance(cause, UserError):
                    traceback.print_exception(cause, file=sys.stderr)
                text = f"{type(cause).__name__}: {cause}".removeprefix("UserError: ")
                failed[f"{number}: {words}"] = text
        if failed:
            what = f"{len(failed)} of {len(named)} jobs failed in '{folder}'"
            raise UserError(_told(what, failed))
        return [results]


def _told(beginning: str, by_job: dict[str, str]) -> str:
    lines = [f"({words}) {' '.join(text.split())}" for words, text in by_job.items()]
    return f"{beginning}: {' '.join(lines)}"
