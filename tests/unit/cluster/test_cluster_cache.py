"""The cache never shows a half-made thing, and names a thing by all that goes into it."""

import io
import json
import os
import tarfile

import pytest

from cluster import archive, cache, imageset, toolchain


def read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    assert member, f"{name} is no file"
    return member.read()


@pytest.fixture(autouse=True)
def cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "modelrelease"


def test_the_cache_lies_where_xdg_cache_home_says(cache_folder):
    assert cache.root() == cache_folder


def test_where_one_input_ends_and_the_next_begins_changes_the_key():
    assert cache.digest("ab", "c") != cache.digest("a", "bc")


def test_a_renamed_file_changes_the_key(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    first, second = ([tmp_path / name] for name in ("a", "b"))
    assert cache.digest_of_files(tmp_path, first) != cache.digest_of_files(tmp_path, second)


def test_the_order_in_which_files_are_found_does_not_change_the_key(tmp_path):
    files = [tmp_path / name for name in ("a", "b")]
    for file in files:
        file.write_text(file.name)
    assert cache.digest_of_files(tmp_path, files) == cache.digest_of_files(tmp_path, files[::-1])


def test_a_thing_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "thing"
    with cache.making(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"


def test_a_failure_leaves_neither_the_thing_nor_its_pieces(tmp_path):
    def fail_half_way():
        with cache.making(tmp_path / "thing") as temporary:
            temporary.mkdir()
            (temporary / "piece").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_pieces_of_a_crashed_run_are_swept_away(tmp_path):
    (tmp_path / ".thing.4711").mkdir()
    with cache.making(tmp_path / "thing") as temporary:
        temporary.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_the_key_of_compiled_programs_follows_go_sum(monkeypatch, tmp_path):
    module = toolchain.helm_module()
    monkeypatch.setattr(toolchain, "MODULES", tmp_path)
    (tmp_path / "helm").mkdir()
    sums = tmp_path / "helm" / "go.sum"
    sums.write_text("one")
    before = module.key
    sums.write_text("two")
    assert module.key != before


def test_an_image_is_made_from_sources_and_never_from_bytecode(monkeypatch, tmp_path):
    monkeypatch.setattr(imageset, "REPOSITORY", tmp_path)
    (tmp_path / "Dockerfile").touch()
    (tmp_path / "src" / "__pycache__").mkdir(parents=True)
    (tmp_path / "src" / "__pycache__" / "a.pyc").touch()
    (tmp_path / "src" / "a.py").touch()
    found = imageset.Image("app:dev", "Dockerfile", ("src",)).files()
    assert [file.name for file in found] == ["Dockerfile", "a.py"]


def test_the_image_of_one_program_is_an_archive_that_names_itself(tmp_path):
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF" + bytes(14) + (0x3E).to_bytes(2, "little"))
    made = archive.single_program("docker.io/library/pause:dev", program, tmp_path / "pause.tar")
    with tarfile.open(made) as tar:
        [entry] = json.loads(read(tar, "manifest.json"))
        config = json.loads(read(tar, entry["Config"]))
        layer = read(tar, entry["Layers"][0])
    assert entry["RepoTags"] == ["docker.io/library/pause:dev"]
    assert config["architecture"] == "amd64"
    assert config["config"]["User"] == "65532:65532"
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.getmember("pause").mode == 0o755


def test_old_archives_make_room_and_those_of_another_name_stay(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (folder := cache.root() / "images").mkdir(parents=True)
    for age, name in enumerate(("app-boosters-0123456789ab", *(f"app-{n:012x}" for n in range(3)))):
        (folder / f"{name}.tar").touch()
        os.utime(folder / f"{name}.tar", (age, age))
    imageset._prune(imageset.Image("app:dev", "Dockerfile"))
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["app-000000000001.tar", "app-000000000002.tar", "app-boosters-0123456789ab.tar"]
