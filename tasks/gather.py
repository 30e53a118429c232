"""What the runs of a batch have measured: gathered in the store, shown in Prefect's UI."""

from collections.abc import Mapping, Sequence

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from fedsyn.ablation import Run, Study
from fedsyn.ablation.gathering import gather
from fedsyn.artifacts import Artifact, Manifest, Store
from fedsyn.report.preview import preview
from tasks.showing import picture_in_markdown, shown


@task(name="gather", cache_policy=NO_CACHE, persist_result=False, tags=["fedsyn"])
def show_gathered(
    store: Store,
    study: Study,
    runs: Sequence[Run],
    reports: Mapping[tuple[str, int], Manifest],
    failures: Mapping[tuple[str, int], str],
) -> Artifact:
    """Publish the table of a study, and show it."""
    artifact = gather(store, study, runs, reports, failures)
    place = f"ablation/{artifact.manifest.key}"
    table = (artifact.root / "table.md").read_text(encoding="utf-8")
    picture = picture_in_markdown("accuracy", preview(artifact.root / "figures" / "accuracy.png"))
    text = f"{table}\n\n{picture}\n\nTidy rows: `{artifact.root / 'runs.parquet'}` (store: {place})"
    with shown("the table"):
        create_markdown_artifact(text, key=f"ablation-{study.name}", description=f"{study.name} (store: {place})")
    get_run_logger().info("gathered %d of %d runs in %s", len(reports), len(runs), place)
    return artifact
