"""A study: arms that differ in a few fields of one experiment, each run with the same seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fedsyn.ablation.fields import check, plain, short_name
from fedsyn.config import Experiment
from fedsyn.graph import REPORT
from fedsyn.pipeline import keys
from fedsyn.presets import DEFAULT_PRESET, ConfigError, dotted, load_experiment, preset_names, preset_text

MOST_RUNS = 1000

ArmName = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]
Values = Annotated[list[Any], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


@dataclass(frozen=True)
class Run:
    """One arm with one seed. `overrides`: all that differs from the preset, by dotted name, the seed included."""

    arm: str
    seed: int
    overrides: dict[str, Any]
    experiment: Experiment


class Study(BaseModel):
    """What is compared, and over which seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$", description="What the study is called: small letters, digits and hyphens"
    )
    preset: str = Field(
        DEFAULT_PRESET,
        description="Experiment that every arm starts from",
        json_schema_extra={"enum": list(preset_names())},
    )
    overrides: dict[str, Any] = Field(
        {}, description='Fields that differ from the preset in every arm, nested or dotted: {"classifier.rounds": 10}'
    )
    grid: dict[str, Values] = Field(
        {}, description='Dotted field to its values; every combination is an arm: {"synthesis.guidance_scale": [1, 2]}'
    )
    arms: dict[ArmName, dict[str, Any]] = Field(
        {}, description="Name of an arm to the fields that make it; with a grid, each is run at every point of it"
    )
    seeds: list[Seed] = Field([0, 1, 2], min_length=1, description="Seeds that every arm is run with")

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, given: Any) -> Any:
        """A form sends null for every field that was left empty."""
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    @field_validator("arms", mode="before")
    @classmethod
    def _an_arm_may_change_nothing(cls, arms: Any) -> Any:
        """In YAML, `baseline:` says it all."""
        if not isinstance(arms, dict):
            return arms
        return {name: {} if changes is None else changes for name, changes in arms.items()}

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"every seed must differ from the others, got {seeds}")
        return seeds

    def changes(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and dotted fields of each arm: the named ones in their order, each over the grid, last field fastest."""
        axes = [[(field, value) for value in values] for field, values in self.grid.items()]
        arms = []
        for name, fields in (self.arms or {"": {}}).items():
            for point in product(*axes):
                parts = [name, *(f"{short_name(field)}={plain(value)}" for field, value in point)]
                arms.append((", ".join(filter(None, parts)) or "baseline", dotted(fields) | dotted(dict(point))))
        return arms

    def runs(self) -> list[Run]:
        """Every arm with every seed, an arm's seeds together.

        Raises:
            ConfigError: an unknown preset, too many runs, a field that no arm may set or that has no effect, arms
                that are no valid experiments (all of them are named), or the same experiment twice.
        """
        self._check_size()
        self._check_fields()
        common, arms = dotted(self.overrides), self.changes()
        experiments: dict[str, Experiment] = {}
        computed: dict[str, str] = {}
        problems = []
        for arm, fields in arms:
            try:
                check(fields)
                experiment = load_experiment(self.preset, common | fields)
            except ConfigError as error:
                problems += [f"{arm}: {line}" for line in str(error).splitlines()]
                continue
            twin = computed.setdefault(keys(experiment, "the data at hand")[REPORT.name], arm)
            if twin != arm or arm in experiments:
                problems.append(f"{arm}: the same experiment as the arm {twin!r}; remove one of them")
            experiments[arm] = experiment
        self._refuse(problems)
        return [
            Run(arm, seed, common | fields | {"seed": seed}, experiments[arm].model_copy(update={"seed": seed}))
            for arm, fields in arms
            for seed in self.seeds
        ]

    def _check_size(self) -> None:
        arms = max(1, len(self.arms)) * prod(map(len, self.grid.values()))
        if (runs := arms * len(self.seeds)) > MOST_RUNS:
            self._refuse(
                [
                    f"a study has at most {MOST_RUNS:,} runs, got {runs:,} ({arms:,} arms x {len(self.seeds)} seeds); "
                    "split it, or take values out of its grid"
                ]
            )

    def _check_fields(self) -> None:
        """What is wrong with all arms alike, once."""
        preset_text(self.preset)
        problems = []
        common, arms = dotted(self.overrides), [fields for _, fields in self.changes()]
        for place, fields in (("overrides", common), ("grid", self.grid)):
            try:
                check(fields)
            except ConfigError as error:
                problems += [f"{place}: {line}" for line in str(error).splitlines()]
        for field in common:
            if all(field in changed for changed in arms):
                problems.append(f"overrides: {field} has no effect, since every arm sets it; remove it")
        for name, fields in self.arms.items():
            for field in dotted(fields).keys() & self.grid.keys():
                problems.append(f"{name}: {field} has no effect, since the grid sets it; remove it from the arm")
        self._refuse(problems)

    def _refuse(self, problems: Sequence[str]) -> None:
        if problems:
            raise ConfigError(
                "\n".join([f"study {self.name}:", *problems])
                if len(problems) > 1
                else f"study {self.name}: {problems[0]}"
            )
