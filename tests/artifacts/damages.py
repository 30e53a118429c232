"""Ways to damage an artifact: each takes its folder. What the store says about it stands beside each in `DAMAGES`."""

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

from fedsyn.artifacts import Store
from fedsyn.artifacts.manifest import LARGEST, SEAL
from tests.handmade import publish


def flip_a_bit(root: Path) -> None:
    path = root / "model/weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncate(root: Path) -> None:
    path = root / "notes.txt"
    path.write_bytes(path.read_bytes()[:-1])


def append(root: Path) -> None:
    with (root / "notes.txt").open("ab") as file:
        file.write(b"x")


def delete_a_file(root: Path) -> None:
    (root / "numbers.json").unlink()


def delete_a_folder(root: Path) -> None:
    shutil.rmtree(root / "model")


def rename_a_file(root: Path) -> None:
    (root / "numbers.json").rename(root / "figures.json")


def add_a_file(root: Path) -> None:
    (root / "model" / "extra.bin").write_bytes(b"")


def swap_two_files(root: Path) -> None:
    one, other = root / "numbers.json", root / "notes.txt"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def link_to_the_same_bytes(root: Path) -> None:
    path, elsewhere = root / "numbers.json", root.parent.parent / "elsewhere.json"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def link_to_a_folder_of_the_same_files(root: Path) -> None:
    elsewhere = root.parent.parent / "elsewhere"
    shutil.move(root / "model", elsewhere)
    (root / "model").symlink_to(elsewhere)


def add_a_link_to_a_folder(root: Path) -> None:
    (root / "extra").symlink_to(root.parent.parent)


def folder_in_place_of_a_file(root: Path) -> None:
    (root / "numbers.json").unlink()
    (root / "numbers.json").mkdir()


def no_manifest(root: Path) -> None:
    (root / "manifest.json").unlink()


def empty_manifest(root: Path) -> None:
    (root / "manifest.json").write_bytes(b"")


def manifest_of_random_bytes(root: Path) -> None:
    (root / "manifest.json").write_bytes(bytes(range(256)))


def half_a_manifest(root: Path) -> None:
    path = root / "manifest.json"
    path.write_bytes(path.read_bytes()[:-100])


def manifest_that_is_a_folder(root: Path) -> None:
    (root / "manifest.json").unlink()
    (root / "manifest.json").mkdir()


def manifest_that_is_a_link_to_itself_elsewhere(root: Path) -> None:
    elsewhere = root.parent.parent / "elsewhere.json"
    shutil.move(root / "manifest.json", elsewhere)
    (root / "manifest.json").symlink_to(elsewhere)


def manifest_that_is_a_pipe(root: Path) -> None:
    (root / "manifest.json").unlink()
    os.mkfifo(root / "manifest.json")


def manifest_of_more_bytes_than_any_has(root: Path) -> None:
    os.truncate(root / "manifest.json", LARGEST + 1)  # a sparse file: it takes no room on the disk


def manifest_with_a_better_metric(root: Path) -> None:
    path = root / "manifest.json"
    text = path.read_text()
    assert text.count("0.5") == 1
    path.write_text(text.replace("0.5", "0.9"))


def manifest_without_its_seal(root: Path) -> None:
    path = root / "manifest.json"
    path.write_text(path.read_text().partition(SEAL)[0] + "\n}\n")


def manifest_with_a_seal_of_nothing(root: Path) -> None:
    path = root / "manifest.json"
    path.write_text(path.read_text().partition(SEAL)[0] + SEAL + '"\n}\n')


def manifest_with_bytes_after_its_seal(root: Path) -> None:
    with (root / "manifest.json").open("ab") as file:
        file.write(b" ")


def edit_manifest(root: Path, **changes: object) -> None:
    """Change fields and seal it again, as a forger would who knows how."""
    path = root / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["sha256"]
    body = json.dumps(fields | changes, indent=2).removesuffix("\n}")
    path.write_text(f'{body}{SEAL}{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n')


def edit_a_file_in_manifest(root: Path, **changes: object) -> None:
    files = json.loads((root / "manifest.json").read_text())["files"]
    changed = [file | changes if file["name"] == "numbers.json" else file for file in files]
    edit_manifest(root, files=sorted(changed, key=lambda file: file["name"]))


def manifest_of_another_stage(root: Path) -> None:
    edit_manifest(root, stage="other")


def manifest_of_another_key(root: Path) -> None:
    edit_manifest(root, key="f" * 24)


def manifest_with_an_unknown_field(root: Path) -> None:
    edit_manifest(root, note="hello")


def manifest_without_a_file(root: Path) -> None:
    edit_manifest(root, files=json.loads((root / "manifest.json").read_text())["files"][:-1])


def manifest_that_names_a_file_twice(root: Path) -> None:
    files = json.loads((root / "manifest.json").read_text())["files"]
    edit_manifest(root, files=[files[0], *files])


def manifest_that_claims_a_huge_file(root: Path) -> None:
    edit_a_file_in_manifest(root, size=2**62)


def manifest_that_claims_a_size_below_nothing(root: Path) -> None:
    edit_a_file_in_manifest(root, size=-1)


def manifest_nested_without_end(root: Path) -> None:
    path = root / "manifest.json"
    body = '{"config": ' + "[" * 100_000 + "]" * 100_000
    path.write_text(f'{body}{SEAL}{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n')


def pipe_in_place_of_a_file(root: Path) -> None:
    (root / "numbers.json").unlink()
    os.mkfifo(root / "numbers.json")


def socket_in_place_of_a_file(root: Path) -> None:
    (root / "numbers.json").unlink()
    os.mknod(root / "numbers.json", stat.S_IFSOCK | 0o600)


def link_to_an_endless_device(root: Path) -> None:
    (root / "numbers.json").unlink()
    (root / "numbers.json").symlink_to("/dev/zero")


def add_a_pipe(root: Path) -> None:
    os.mkfifo(root / "extra")


def another(root: Path) -> Path:
    """The folder of a whole artifact of another key."""
    store = Store(root.parent.parent)
    return publish(store, lambda folder: folder.write_json("numbers", {"answer": 41}), key="e" * 24).root


def file_of_another_artifact(root: Path) -> None:
    shutil.copyfile(another(root) / "numbers.json", root / "numbers.json")


def another_artifact_in_its_place(root: Path) -> None:
    shutil.rmtree(root)
    shutil.copytree(another(root), root)


def folder_that_is_a_link_to_itself_elsewhere(root: Path) -> None:
    elsewhere = root.parent.parent / "elsewhere"
    shutil.move(root, elsewhere)
    root.symlink_to(elsewhere)


def name_a_file_outside(root: Path, name: str) -> None:
    (root / "numbers.json").rename(root.parent / "outside.json")
    edit_a_file_in_manifest(root, name=name)


def path_escape(root: Path) -> None:
    name_a_file_outside(root, "../outside.json")


def path_escape_through_a_folder(root: Path) -> None:
    name_a_file_outside(root, "model/../../outside.json")


def absolute_path(root: Path) -> None:
    name_a_file_outside(root, str(root.parent / "outside.json"))


BYTES = "has other bytes than its manifest says"
FILES = "its files are not those of its manifest"
EDITED = "its manifest is damaged or was edited"
STRANGE = "its manifest cannot be understood"
MISSING = "it has no manifest"

DAMAGES = {
    flip_a_bit: f"model/weights.safetensors {BYTES}",
    truncate: f"notes.txt {BYTES}",
    append: f"notes.txt {BYTES}",
    swap_two_files: BYTES,
    file_of_another_artifact: f"numbers.json {BYTES}",
    pipe_in_place_of_a_file: f"numbers.json {BYTES}",
    socket_in_place_of_a_file: f"numbers.json {BYTES}",
    link_to_the_same_bytes: f"numbers.json {BYTES}",
    link_to_an_endless_device: f"numbers.json {BYTES}",
    manifest_that_claims_a_huge_file: f"numbers.json {BYTES}",
    delete_a_file: FILES,
    delete_a_folder: FILES,
    rename_a_file: FILES,
    add_a_file: FILES,
    add_a_pipe: FILES,
    add_a_link_to_a_folder: FILES,
    link_to_a_folder_of_the_same_files: FILES,
    folder_in_place_of_a_file: FILES,
    manifest_without_a_file: FILES,
    manifest_that_names_a_file_twice: FILES,
    no_manifest: MISSING,
    manifest_that_is_a_folder: MISSING,
    manifest_that_is_a_link_to_itself_elsewhere: MISSING,
    manifest_that_is_a_pipe: MISSING,
    manifest_of_more_bytes_than_any_has: MISSING,
    empty_manifest: EDITED,
    manifest_of_random_bytes: EDITED,
    half_a_manifest: EDITED,
    manifest_with_a_better_metric: EDITED,
    manifest_without_its_seal: EDITED,
    manifest_with_a_seal_of_nothing: EDITED,
    manifest_with_bytes_after_its_seal: EDITED,
    manifest_with_an_unknown_field: STRANGE,
    manifest_that_claims_a_size_below_nothing: STRANGE,
    manifest_nested_without_end: STRANGE,
    path_escape: STRANGE,
    path_escape_through_a_folder: STRANGE,
    absolute_path: STRANGE,
    manifest_of_another_stage: "its manifest is that of other/",
    manifest_of_another_key: "its manifest is that of stage/ffff",
    another_artifact_in_its_place: "its manifest is that of stage/eeee",
    folder_that_is_a_link_to_itself_elsewhere: "it is no folder",
}
