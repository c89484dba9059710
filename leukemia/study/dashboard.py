"""A W&B workspace for a study: described in plain values, made by W&B's own library.

`describe` needs neither network nor W&B; `workspace` turns what it returns into the library's
object, and `publish` saves that on the server.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from leukemia.classes import CANCER_FIGURES
from leukemia.errors import UserError
from leukemia.study.record import Rule
from leukemia.tracking.base import CURVES, EPOCH

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

_FIGURES = ("cancer_recall", "cancer_specificity", "accuracy", "nll", "ece")
_CURVES = ("val_loss", "val_accuracy", "val_cancer_recall", "train_loss")


def describe(
    study: str, swept: Sequence[str], *, metric: str = "macro_f1", has_cancer: bool = True
) -> dict[str, Any]:
    """The dashboard of a study, in plain values.

    Args:
        study: its name, which is the group of its W&B runs.
        swept: the settings that its trials vary, by dotted names of single values, such as
            ``loss.lambda_bce``, or ``model.name`` where ``model`` was swept. Over ``seed`` is
            averaged, unless nothing else was varied.
        metric: the figure of validation that chooses the winner.
        has_cancer: whether a class is benign, so that there are figures of cancer.

    Returns:
        ``name``; ``group`` of the runs shown; ``settings`` and ``figures``, the columns of their
        table; ``ascending``, their order by the first figure; and ``sections``, each a ``name``
        and ``panels``, whose ``kind`` is bar, line, scatter, parallel, importance or table.

    Raises:
        UserError: an unknown figure, or no setting.
    """
    if not swept:
        raise UserError(f"The study '{study}' varies no setting: a dashboard has none to compare.")
    settings = list(dict.fromkeys(swept))
    compared = [key for key in settings if key != "seed"] or settings
    known = [name for name in (metric, *_FIGURES) if has_cancer or name not in CANCER_FIGURES]
    figures = list(dict.fromkeys(f"val/{name}" for name in known))
    curves = [name for name in _CURVES if has_cancer or name != "val_cancer_recall"]
    scatter = {"kind": "scatter", "x": "val/cancer_specificity", "y": "val/cancer_recall"}
    return {
        "name": f"Study {study}",
        "group": study,
        "settings": settings,
        "figures": figures,
        "ascending": Rule(metric).direction == "min",
        "sections": [
            {
                "name": "Choice",
                "panels": [
                    {"kind": "parallel", "settings": settings, "figure": figures[0]},
                    {"kind": "importance", "figure": figures[0]},
                    *([scatter] if has_cancer else []),
                ],
            },
            *(
                {
                    "name": f"By {key}",
                    "panels": [
                        *({"kind": "bar", "figure": name, "by": key} for name in figures),
                        *(
                            {"kind": "line", "x": EPOCH, "y": f"{CURVES}/{name}", "by": key}
                            for name in curves
                        ),
                    ],
                }
                for key in compared
            ),
            {"name": "Mistakes", "panels": [{"kind": "table", "table": "val/mistakes"}]},
        ],
    }


def workspace(spec: Mapping[str, Any], *, project: str, entity: str) -> "Workspace":
    """The library's object for a description; the network is not touched.

    Args:
        spec: what `describe` returned.
        project: the W&B project of the runs.
        entity: the user or team that owns it.

    Raises:
        UserError: the library is not installed.
    """
    try:
        from wandb_workspaces import workspaces as ws
        from wandb_workspaces.reports import v2 as wr
    except ImportError as error:
        raise UserError(
            "A dashboard needs the package 'wandb-workspaces', which is not installed: "
            "pip install 'leukemia[dashboard]'."
        ) from error

    def panel(kind: str, **of: Any) -> object:
        if kind == "bar":
            return wr.BarPlot(
                title=of["figure"],
                metrics=[wr.SummaryMetric(of["figure"])],
                groupby=wr.Config(of["by"]),
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
            )
        if kind == "line":
            return wr.LinePlot(
                title=of["y"],
                x=of["x"],
                y=[of["y"]],
                groupby=wr.Config(of["by"]),
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
            )
        if kind == "scatter":
            return wr.ScatterPlot(x=wr.SummaryMetric(of["x"]), y=wr.SummaryMetric(of["y"]))
        if kind == "parallel":
            metrics = [*map(wr.Config, of["settings"]), wr.SummaryMetric(of["figure"])]
            return wr.ParallelCoordinatesPlot(
                columns=[wr.ParallelCoordinatesPlotColumn(metric=metric) for metric in metrics]
            )
        if kind == "importance":
            return wr.ParameterImportancePlot(with_respect_to=of["figure"])
        return wr.WeavePanelSummaryTable(table_name=of["table"], layout=wr.Layout(w=24, h=16))

    columns = [
        *(f"config:{_stored(key)}" for key in spec["settings"]),
        *(f"summary:{name}" for name in spec["figures"]),
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=spec["name"],
        sections=[
            ws.Section(
                name=section["name"],
                is_open=True,
                panels=[panel(**of) for of in section["panels"]],
            )
            for section in spec["sections"]
        ],
        runset_settings=ws.RunsetSettings(
            filters=[ws.Metric("Group") == spec["group"]],
            order=[ws.Ordering(ws.Summary(spec["figures"][0]), ascending=spec["ascending"])],
            pinned_columns=columns,
        ),
    )


def publish(spec: Mapping[str, Any], *, project: str, entity: str | None = None) -> str | None:
    """Save a dashboard on the W&B server and return its address.

    Args:
        spec: what `describe` returned.
        project: the W&B project of the runs.
        entity: the user or team that owns it; ``None`` for the one of the login.

    Returns:
        The address; ``None`` where W&B is not online, and nothing was sent.

    Raises:
        UserError: the server cannot be used, or W&B's library is missing.
    """
    import wandb

    from leukemia.tracking.wandb import choose_mode

    if choose_mode() != "online":
        return None
    try:
        owner = entity or wandb.Api().default_entity
        return str(workspace(spec, project=project, entity=str(owner)).save().url)
    except (wandb.Error, ValueError, OSError) as error:
        raise UserError(
            f"The dashboard cannot be saved in project '{project}': {str(error).splitlines()[0]}"
        ) from error


def _stored(key: str) -> str:
    """The name of a setting in W&B's table of runs, which files its first part's value apart."""
    first, *rest = key.split(".")
    return ".".join([first, "value", *rest])
