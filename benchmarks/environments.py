"""One virtual environment for each peer framework, with exactly the packages in requirements/.

    python benchmarks/environments.py [FOLDER] [--only NAME ...]

Run it with the project's own interpreter. PyTorch takes gigabytes, so no peer installs it: an environment gets a .pth
file that appends the project's site-packages to its module search path, after its own. So every contender trains with
the same build of PyTorch, a peer's own packages win over the project's, and what a peer lacks and the project has
(torch, torchvision and their dependencies) comes from the project. Packages are installed without resolving
dependencies: the lists are complete. FedJAX does without PyTorch and sees none of the project.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
PEERS = ("pfl_research", "flower", "fedlab_standalone", "fedjax_fedavg")
WITHOUT_TORCH = ("fedjax_fedavg",)


def create(name: str, folder: Path) -> None:
    """Make the environment of a contender, anew if it is there."""
    environment = folder / name
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    requirements = HERE / "requirements" / f"{name}.txt"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", requirements], check=True)
    if name not in WITHOUT_TORCH:
        command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        own = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
        (own / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Create the peers' virtual environments.")
    parser.add_argument("folder", type=Path, nargs="?", default=HERE.parent / ".bench")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=PEERS, metavar="NAME")
    args = parser.parse_args()
    for name in args.only:
        create(name, args.folder)
        print(args.folder / name / "bin" / "python")


if __name__ == "__main__":
    main()
