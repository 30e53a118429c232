"""Ways to damage an artifact: each takes its folder."""

import json
import shutil
from pathlib import Path


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


def edit_manifest(root: Path, **changes: object) -> None:
    path = root / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def manifest_of_another_stage(root: Path) -> None:
    edit_manifest(root, stage="other")


def manifest_of_another_key(root: Path) -> None:
    edit_manifest(root, key="f" * 24)


def manifest_with_an_unknown_field(root: Path) -> None:
    edit_manifest(root, note="hello")


def manifest_without_a_file(root: Path) -> None:
    edit_manifest(root, files=json.loads((root / "manifest.json").read_text())["files"][:-1])


def name_a_file_outside(root: Path, name: str) -> None:
    outside = root.parent / "outside.json"
    (root / "numbers.json").rename(outside)
    files = json.loads((root / "manifest.json").read_text())["files"]
    for file in files:
        if file["name"] == "numbers.json":
            file["name"] = name
    edit_manifest(root, files=sorted(files, key=lambda file: file["name"]))


def path_escape(root: Path) -> None:
    name_a_file_outside(root, "../outside.json")


def path_escape_through_a_folder(root: Path) -> None:
    name_a_file_outside(root, "model/../../outside.json")


def absolute_path(root: Path) -> None:
    name_a_file_outside(root, str(root.parent / "outside.json"))


DAMAGES = [
    flip_a_bit,
    truncate,
    append,
    delete_a_file,
    delete_a_folder,
    rename_a_file,
    add_a_file,
    swap_two_files,
    link_to_the_same_bytes,
    link_to_a_folder_of_the_same_files,
    add_a_link_to_a_folder,
    folder_in_place_of_a_file,
    no_manifest,
    empty_manifest,
    manifest_of_random_bytes,
    half_a_manifest,
    manifest_that_is_a_folder,
    manifest_of_another_stage,
    manifest_of_another_key,
    manifest_with_an_unknown_field,
    manifest_without_a_file,
    path_escape,
    path_escape_through_a_folder,
    absolute_path,
]
