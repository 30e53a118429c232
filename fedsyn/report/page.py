"""The page: one file, images inside, no request to anywhere."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from fedsyn.config import IN_GRAPH, Section
from fedsyn.report.evidence import Evidence, Trace
from fedsyn.report.notes import Note
from fedsyn.report.plates import Plate
from fedsyn.report.story import BOUNDARY, story
from fedsyn.report.text import count, measure, percent, plain_value, points


@dataclass(frozen=True)
class Setting:
    """One field of the configuration, as the page shows it."""

    name: str
    value: str
    changed: bool  # differs from the default
    description: str


def render(
    evidence: Evidence,
    numbers: Mapping[str, float],
    notes: Sequence[Note],
    plates: Sequence[Plate],
    images: Mapping[tuple[str, str], bytes],
    tables: tuple[pd.DataFrame, pd.DataFrame],
    measures: pd.DataFrame,
) -> str:
    """The page as HTML.

    `images`: PNG bytes by (name of the plate, name of the theme); `tables`: per class and per client; `measures`: of
    the synthetic images.
    """
    environment = Environment(
        autoescape=True,
        loader=PackageLoader("fedsyn.report", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, points=points, count=count, measure=measure)
    classes, clients = (table.to_dict("records") for table in tables)
    return environment.get_template("page.html.jinja").render(
        dataset=evidence.info["name"],
        seed=evidence.seed,
        numbers=numbers,
        story=story(evidence, numbers),
        labeler=evidence.labeler,
        boundary=BOUNDARY,
        notes=notes,
        plates=plates,
        source={key: base64.b64encode(image).decode("ascii") for key, image in images.items()},
        classes=classes,
        clients=clients,
        measures=measures.to_dict("records"),
        image_classes=evidence.image_quality.assign(class_name=evidence.class_names).to_dict("records"),
        sections={name: setting_rows(section) for name, section in evidence.settings.items()},
        traces=evidence.traces,
        trace_metrics=_trace_metrics,
    )


def setting_rows(section: Section) -> list[Setting]:
    """The fields of a section that decide results, in their declared order; never a path. Those of the graph only
    where they are set: the report's key tells another graph, and not that there could be one."""
    fields, values = type(section).model_fields, section.key_fields()
    for name, field in fields.items():
        if field.json_schema_extra == IN_GRAPH and getattr(section, name) != field.get_default():
            values[name] = getattr(section, name)
    return [
        Setting(
            name=name,
            value=plain_value(values[name]),
            changed=getattr(section, name) != field.get_default(),
            description=(field.description or "").replace("`", ""),
        )
        for name, field in fields.items()
        if name in values
    ]


def _trace_metrics(trace: Trace) -> list[tuple[str, float]]:
    return sorted((name.replace("_", " "), value) for name, value in trace.metrics.items())
