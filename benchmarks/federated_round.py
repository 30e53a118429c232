"""Time federated rounds: fedsyn's engines against a plain loop, a naive one, and other frameworks; and how cost scales.

    python benchmarks/federated_round.py compare results/compare.json --peers .bench --repeats 5
    python benchmarks/federated_round.py scaling results/scaling.json
    python benchmarks/federated_round.py table results/compare.json
    python benchmarks/federated_round.py plot results/compare.json results/scaling.json FIGURE.png

`compare` starts every contender in a process of its own, all of them in turn, again and again (A B C A B C), so that a
machine that slows down slows all of them down. A contender's figure is the median over its runs of the median over a
run's rounds. Start-up is counted apart: imports, data, workers, and whatever a framework does before its first round.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
Line = dict
"""What a contender prints: see `workload.report`."""

OURS = {
    "fedsyn sequential": ["--engine", "sequential"],
    "fedsyn sequential, 2 threads": ["--engine", "sequential", "--threads", "2"],
    "fedsyn processes": ["--engine", "processes"],
    "fedsyn ray": ["--engine", "ray"],
    "fedsyn vectorized": ["--engine", "vectorized"],
}
LOOPS = ("plain_channels_last", "plain_nchw", "naive")
PEERS = ("pfl_research", "fedlab_standalone", "flower", "fedjax_fedavg")
TWO_CORES = ("fedsyn sequential, 2 threads", "fedsyn processes", "fedsyn ray")
LIMIT = "plain_channels_last"


def contenders(peers: Path | None) -> dict[str, list[str]]:
    """The command of every contender, by name; peers run in the environments that `environments.py` made."""
    commands = {name: [sys.executable, str(HERE / "contenders" / f"{name}.py")] for name in LOOPS}
    engine = [sys.executable, str(HERE / "contenders" / "fedsyn_engine.py")]
    commands |= {name: [*engine, *options] for name, options in OURS.items()}
    for name in PEERS if peers else ():
        commands[name] = [str(peers / name / "bin" / "python"), str(HERE / "contenders" / f"{name}.py")]
    return commands


def measure(command: Sequence[str], workload: Path, rounds: int) -> Line:
    """Run a contender once and read its line."""
    outcome = subprocess.run([*command, str(workload), "--rounds", str(rounds)], capture_output=True, text=True)
    lines = [line for line in outcome.stdout.splitlines() if line.startswith("{")]
    if outcome.returncode or not lines:
        raise SystemExit(f"{' '.join(command)} failed:\n{outcome.stderr[-3000:]}")
    return json.loads(lines[-1])


def make_workload(folder: Path, *options: object) -> Path:
    """A workload with other than the usual sizes."""
    path = folder / "-".join(["workload", *(str(option).strip("-") for option in options)])
    path = path.with_suffix(".npz")
    subprocess.run([sys.executable, HERE / "workload.py", path, *map(str, options)], check=True, capture_output=True)
    return path


def compare(peers: Path | None, repeats: int, rounds: int, chosen: Sequence[str]) -> list[Line]:
    """All contenders in turn, `repeats` times."""
    commands = {name: command for name, command in contenders(peers).items() if not chosen or name in chosen}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        workload = make_workload(Path(folder))
        for repeat in range(repeats):
            for name, command in commands.items():
                lines.append(measure(command, workload, rounds) | {"name": name, "repeat": repeat})
                print(
                    f"{repeat + 1}/{repeats} {name}: {statistics.median(lines[-1]['round_seconds']):.2f} s", flush=True
                )
    return lines


def scaling(repeats: int) -> list[Line]:
    """`fedsyn sequential` against the number of clients, the samples of a client, and the width of the model."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(repeats):
            for varied, value, options, extra in _cases():
                workload = make_workload(Path(name), "--iid", *options)
                command = [sys.executable, str(HERE / "contenders" / "fedsyn_engine.py"), *extra]
                lines.append(measure(command, workload, 1) | {"varied": varied, "value": value})
                print(f"{varied} {value}: {lines[-1]['round_seconds'][0]:.2f} s, {lines[-1]['peak_mb']} MB", flush=True)
    return lines


def _cases() -> Iterator[tuple[str, int, list[object], list[str]]]:
    for num_clients in (10, 30, 100, 300, 1000):
        yield "clients", num_clients, ["--num-samples", 20000, "--num-clients", num_clients], []
    for samples in (20, 60, 200, 600, 2000):
        yield "samples of a client", samples, ["--num-samples", 10 * samples, "--num-clients", 10], []
    for width in (8, 16, 32, 64):
        yield "width of the CNN", width, ["--num-samples", 2000, "--num-clients", 10], ["--width", str(width)]


def summary(lines: Sequence[Line]) -> dict[str, Line]:
    """Medians by contender: seconds of wall and CPU a round, start-up, peak memory."""
    result = {}
    for name in dict.fromkeys(line["name"] for line in lines):
        runs = [line for line in lines if line["name"] == name]
        medians = {
            "round": [statistics.median(run["round_seconds"]) for run in runs],
            "cpu": [statistics.median(run["cpu_seconds"]) for run in runs],
            "startup": [run["startup_seconds"] for run in runs],
            "peak_mb": [run["peak_mb"] for run in runs],
            "accuracy": [run["accuracy"] for run in runs],
        }
        result[name] = {what: statistics.median(values) for what, values in medians.items()}
        result[name] |= {"least": min(medians["round"]), "most": max(medians["round"]), "version": runs[0]["version"]}
    return result


def table(lines: Sequence[Line]) -> str:
    """The comparison as Markdown, fastest first."""
    medians = summary(lines)
    limit = medians[LIMIT]["round"]
    rows = [
        "| contender | s a round (least to most) | to the limit | CPU s | start-up s | peak MB | version |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, line in sorted(medians.items(), key=lambda item: item[1]["round"]):
        spread = f"{line['round']:.2f} ({line['least']:.2f} to {line['most']:.2f})"
        figures = f"{line['round'] / limit:.2f} | {line['cpu']:.2f} | {line['startup']:.1f} | {line['peak_mb']:,.0f}"
        rows.append(f"| {name} | {spread} | {figures} | {line['version']} |")
    return "\n".join(rows)


def plot(comparison: Sequence[Line], scales: Sequence[Line], path: Path) -> None:
    """Bars of all contenders, and one panel for each scaling curve."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    medians = sorted(summary(comparison).items(), key=lambda item: -item[1]["round"])
    figure, axes = pyplot.subplots(1, 4, figsize=(17, 4.6), width_ratios=[2.2, 1, 1, 1], layout="constrained")
    names = [name.replace("_", " ") + (" (2 cores)" if name in TWO_CORES[1:] else "") for name, _ in medians]
    ours = ["#7fb3c4" if name in TWO_CORES else "#1f6f8b" for name, _ in medians]
    colors = [color if name.startswith("fedsyn") else "#b9b9b9" for name, color in zip(names, ours, strict=True)]
    bars = axes[0].barh(names, [line["round"] for _, line in medians], color=colors)
    axes[0].bar_label(bars, fmt="%.2f", padding=3)
    axes[0].set_xlabel("seconds a round (median)")
    axes[0].set_title("One federated round, CPU", loc="left")
    axes[0].spines[["top", "right"]].set_visible(False)
    for panel, varied in zip(axes[1:], dict.fromkeys(line["varied"] for line in scales), strict=True):
        own = [line for line in scales if line["varied"] == varied]
        values = sorted({line["value"] for line in own})
        times = [statistics.median(ln["round_seconds"][0] for ln in own if ln["value"] == value) for value in values]
        memory = [statistics.median(line["peak_mb"] for line in own if line["value"] == value) for value in values]
        panel.plot(values, times, "o-", color="#1f6f8b")
        panel.set(xscale="log", xlabel=varied, xticks=values, xticklabels=values, ylim=(0, max(times) * 1.25))
        if max(times) > 3 * min(times):
            panel.set(yscale="log", ylim=(min(times) / 1.5, max(times) * 2))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter("")
        panel.tick_params(which="minor", bottom=False, labelbottom=False)
        panel.margins(x=0.12)
        panel.set_title("seconds a round (points: peak MB)", loc="left", fontsize=9)
        for value, seconds, peak in zip(values, times, memory, strict=True):
            panel.annotate(f"{peak:.0f}", (value, seconds), (0, 8), textcoords="offset points", ha="center", fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="#eeeeee")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    comparing = commands.add_parser("compare", help="all contenders in turn")
    comparing.add_argument("results", type=Path)
    comparing.add_argument("--peers", type=Path, help="folder of the environments of other frameworks")
    comparing.add_argument("--repeats", type=int, default=5)
    comparing.add_argument("--rounds", type=int, default=3)
    comparing.add_argument("--only", nargs="+", default=(), help="these contenders only")
    scale = commands.add_parser("scaling", help="time and memory against clients, samples and model")
    scale.add_argument("results", type=Path)
    scale.add_argument("--repeats", type=int, default=2)
    for name, files in (("table", ["comparison"]), ("plot", ["comparison", "scales", "figure"])):
        shown = commands.add_parser(name)
        for file in files:
            shown.add_argument(file, type=Path)
    args = parser.parse_args()
    if args.command in ("compare", "scaling"):
        args.results.parent.mkdir(parents=True, exist_ok=True)
        if args.command == "compare":
            lines = compare(args.peers, args.repeats, args.rounds, args.only)
        else:
            lines = scaling(args.repeats)
        args.results.write_text(json.dumps(lines, indent=1))
    if args.command == "table":
        print(table(json.loads(args.comparison.read_text())))
    if args.command == "plot":
        plot(json.loads(args.comparison.read_text()), json.loads(args.scales.read_text()), args.figure)


if __name__ == "__main__":
    main()
