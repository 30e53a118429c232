"""Laws of the house that can be read off the source."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from fedsyn.graph import STAGES

ROOT = Path(__file__).parent.parent
SCIENCE = sorted((ROOT / "fedsyn").rglob("*.py"))
SOURCE = sorted(path for folder in ("fedsyn", "tasks", "flows") for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def nodes(path: Path, *kinds: type[ast.AST]) -> list:
    """All nodes of these kinds in a file."""
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)]


def imports(path: Path) -> set[str]:
    """Everything that a file imports, inside functions too: `a.b` and `a.b.c` for `from a.b import c`."""
    found: set[str] = set()
    for node in nodes(path, ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@functools.cache
def calls(path: Path) -> list[tuple[str, list[object]]]:
    """The calls in a file: the dotted name of what is called, and its constant arguments."""
    return [
        (
            ast.unparse(node.func),
            [argument.value for argument in node.args if isinstance(argument, ast.Constant)],
        )
        for node in nodes(path, ast.Call)
    ]


def test_only_metrics_read_hidden_labels():
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCE
        for name, constants in calls(path)
        if not name.endswith("write_table") and any("hidden_labels" in str(constant) for constant in constants)
    }
    assert readers == {"fedsyn/metrics/hidden.py"}


def test_only_selection_bounds_and_report_are_given_hidden_labels():
    """Selection for its measurements and its oracle; the bounds for what all labels would reach, which no stage but the
    report may read; the report for its pictures. No training of the method."""
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCE
        if any(name.startswith("fedsyn.metrics.hidden") for name in imports(path))
    }
    allowed = {"fedsyn/stages/selection.py", "fedsyn/stages/bounds.py", "fedsyn/stages/report.py"}
    assert {path for path in readers if not path.startswith("fedsyn/report/")} <= allowed
    assert [stage.name for stage in STAGES if "bounds" in stage.inputs] == ["report"]
    importers = {path.relative_to(ROOT).as_posix() for path in SOURCE if "fedsyn.stages.bounds" in imports(path)}
    assert importers == set()


@pytest.mark.parametrize("path", SOURCE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_touches_a_global_random_state_or_unpickles(path):
    for name, _ in calls(path):
        assert not name.endswith("manual_seed"), name
        assert name.split(".")[:2] != ["torch", "load"], name
        assert not name.startswith(("random.", "np.random.", "numpy.random.")) or name.endswith(
            (".Generator", ".Philox")
        )
        assert name not in {
            "torch.rand",
            "torch.randn",
            "torch.randperm",
            "torch.randint",
            "torch.randn_like",
        }, name
    forbidden = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "random"}
    assert not {name.split(".")[0] for name in imports(path)} & forbidden


RUNS_CODE = {"eval", "exec", "compile", "__import__", "breakpoint"}
READS_CODE = ("np.load", "numpy.load", "torch.jit.load", "torch.hub.load", "read_pickle", "find_class", "import_string")
YAML = {"yaml.safe_load", "yaml.safe_dump"}


@pytest.mark.parametrize("path", SOURCE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_could_run_what_it_reads(path):
    """Safetensors, Parquet, JSON and plain YAML hold values and nothing to run."""
    for name, _ in calls(path):
        assert name not in RUNS_CODE, name
        assert not name.startswith(("os.system", "os.exec", "os.spawn", "os.popen", "builtins.")), name
        assert not name.endswith(READS_CODE), name
        assert not name.startswith("yaml.") or name in YAML, name
        assert not name.endswith("import_module") or path == ROOT / "fedsyn/graph.py", name  # of its own stages
    for call in nodes(path, ast.Call):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert keywords.get("allow_pickle", "False") == "False"
        assert "trust_remote_code" not in keywords
        if ast.unparse(call.func).endswith("from_pretrained"):
            assert keywords.get("use_safetensors") == "True"
    forbidden = {"marshal", "code", "codeop", "runpy", "imp", "subprocess", "ctypes", "h5py", "dbm"}
    starts_servers = (ROOT / "flows" / "own_server.py", ROOT / "flows" / "site" / "parts.py")
    starts_a_server = {"subprocess"} if path in starts_servers else set()
    assert not {name.split(".")[0] for name in imports(path)} & forbidden - starts_a_server
    assert not {name for name in imports(path) if name.startswith("yaml.")}


def in_a_fresh_process(code: str) -> str:
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.strip()


def test_the_science_imports_no_prefect():
    code = """
import importlib, pkgutil, sys, fedsyn
names = [module.name for module in pkgutil.walk_packages(fedsyn.__path__, "fedsyn.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names), sorted(name for name in ("prefect", "tasks", "flows") if name in sys.modules))
"""
    number, orchestration = in_a_fresh_process(code).split(maxsplit=1)
    assert int(number) >= len(SCIENCE) - len(list((ROOT / "fedsyn").rglob("__init__.py")))
    assert orchestration == "[]"


def test_reading_the_graph_and_the_store_does_not_pay_for_pytorch():
    code = """
import sys
import fedsyn.artifacts, fedsyn.config, fedsyn.context, fedsyn.graph, fedsyn.pipeline, fedsyn.randomness
print(sorted({"torch", "torchvision", "diffusers", "sklearn", "prefect"} & sys.modules.keys()))
"""
    assert in_a_fresh_process(code) == "[]"
