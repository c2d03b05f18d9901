"""The command line: every command, right and wrong."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.backbones import Backbone
from headstart.cli import main
from headstart.config import TrainConfig
from headstart.errors import HeadstartError
from headstart.jobs import train
from headstart.runs import Run, load_run

DrawPhotos = Callable[..., Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, draw_photos: DrawPhotos) -> Run:
    """A finished run beside its photos and its store; for reading only."""
    home = tmp_path_factory.mktemp("cli")
    photos = draw_photos(home / "photos")
    return train(TrainConfig(str(photos), recipe="probe"), out=home / "run", store=home / "store")


@pytest.fixture
def store(run: Run) -> str:
    return str(run.folder.parent / "store")


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The message of a command that must end with code 2, in at most two lines on standard error."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert len(captured.err.strip().splitlines()) <= 2
    assert "Traceback" not in captured.err
    return captured.err


def _done(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that must succeed prints."""
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


# train


def test_train_says_what_came_of_it(run: Run, store: str, tmp_path: Path, capsys) -> None:
    out = _done(
        capsys, "train", run.config.data, "--recipe", "probe", "--out", tmp_path / "run", "--store", store
    )

    assert "0 extracted, 24 from the store" in out
    assert "18 train" in out or "21 train" in out
    assert "sampling of the test set only" in out
    assert str(tmp_path / "run/report.html") in out
    assert load_run(tmp_path / "run").result["test"] == run.result["test"]


def test_a_config_reproduces_its_run(run: Run, store: str, tmp_path: Path, capsys) -> None:
    config = run.folder / "config.toml"

    _done(capsys, "train", "--config", config, "--out", tmp_path / "run", "--store", store)

    again = load_run(tmp_path / "run")
    assert again.config == run.config
    name = "predictions.parquet"
    assert (again.folder / name).read_bytes() == (run.folder / name).read_bytes()


def test_the_command_line_wins_over_the_config(run: Run, store: str, tmp_path: Path, capsys) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'data = "{run.config.data}"\nrecipe = "probe"\nseed = 3\nper_class = 4\n')

    _done(capsys, "train", "--config", config, "--seed", "5", "--out", tmp_path / "run", "--store", store)

    made = load_run(tmp_path / "run").config
    assert (made.seed, made.per_class, made.data) == (5, 4, run.config.data)


def test_a_finished_run_is_not_overwritten(run: Run, store: str, capsys) -> None:
    words = _refused(capsys, "train", run.config.data, "--out", run.folder, "--store", store)

    assert "holds a finished run" in words
    assert "--force" in words


def test_warnings_go_to_standard_error(run: Run, store: str, tmp_path: Path, capsys) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(run.config.data, photos)
    (photos / "sky" / "broken.jpg").write_text("no image")

    assert (
        main(["train", str(photos), "--recipe", "probe", "--out", str(tmp_path / "run"), "--store", store])
        == 0
    )

    captured = capsys.readouterr()
    assert "note: Could not be read and left out: 1." in captured.err
    assert "note:" not in captured.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "{tmp}/none"], "There is no folder"),
        (["train", "{tmp}/file"], "is a file, not a folder"),
        (["train", "{tmp}/empty"], "no class folder and no image"),
        (["train", "{tmp}/one"], "Only one class folder"),
        (["train", "{tmp}/loose"], "Images lie directly in"),
        (["train", "{photos}", "--backbone", "efficientnet_lite"], "Nearest: tf_efficientnet_lite0"),
        (["train", "{photos}", "--layer", "nowhere"], "nowhere"),
        (["train", "{photos}", "--per-class", "0"], "per_class is 0; expected at least 1"),
        (["train", "{photos}", "--per-class", "ten"], "ten"),
        (["train", "{photos}", "--class-weights", "heavy"], "heavy"),
        (["train", "{photos}", "--perclass", "3"], "--perclass"),
        (["train", "--config", "{tmp}/none.toml"], "none.toml"),
        (["train", "--config", "{tmp}/bad.toml"], "bad.toml"),
        (["train", "--config", "{tmp}/unknown.toml"], "perclass"),
        (["train"], "Which photos?"),
        (["train", ""], "No folder of photos"),
        (["train", "{photos}", "--weights", ""], "weights is empty"),
        (["trian"], "train"),
        (["predict", "{tmp}/none", "{photo}"], "is no run"),
        (["predict", "{tmp}/empty", "{photo}"], "is no run"),
        (["predict", "{run}", "{tmp}/empty"], "There is no image in"),
        (["predict", "{run}", "{photo}", "--top", "0"], "top"),
        (["predict", "{run}"], "PHOTOS"),
        (["predict", "{run}", "{photo}", "--csv", "{tmp}/none/x.csv"], "There is no folder"),
        (["predict", "{run}", "{photo}", "--figure", "{tmp}/none/x.png"], "There is no folder"),
        (["evaluate", "{run}", "{photos}", "--csv", "{tmp}/empty"], "is a folder, and a file"),
        (["predict", "{run}", "{photo}", "--csv", "{tmp}/link"], "is a link or a device"),
        (["evaluate", "{tmp}/empty", "{photos}"], "is no run"),
        (["evaluate", "{run}", "{tmp}/none"], "There is no folder"),
        (["evaluate", "{run}", "{tmp}/others"], "does not know 'lava', 'wool'"),
        (["backbones", "zzz"], "Nearest"),
        (["cache", "prune", "much"], "'much' is no size"),
        (["cache", "prune"], "KEEP"),
        (["cache", "burn"], "burn"),
        (["demo", "nothing"], "nothing"),
    ],
    ids=lambda value: " ".join(value).replace("{", "").replace("}", "") if isinstance(value, list) else "",
)
def test_every_command_wrong(
    run: Run,
    tmp_path: Path,
    draw_photos: DrawPhotos,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "bad.toml").write_text("data = ")
    (tmp_path / "unknown.toml").write_text(f'data = "{run.config.data}"\nperclass = 3\n')
    draw_photos(tmp_path / "one", classes=("brick",), per_class=1)
    draw_photos(tmp_path / "others", classes=("lava", "wool"), per_class=1)
    (tmp_path / "loose").mkdir()
    photo = Path(run.config.data) / "brick/00.jpg"
    shutil.copy(photo, tmp_path / "loose")
    places = {"tmp": tmp_path, "photos": run.config.data, "photo": photo, "run": run.folder}

    message = _refused(capsys, *[argument.format(**places) for argument in arguments])

    assert words.casefold() in message.casefold()


@pytest.mark.parametrize("place", [0, -1])
def test_debug_shows_the_traceback(tmp_path: Path, place: int) -> None:
    arguments = ["train", str(tmp_path / "none")]
    arguments.insert(place if place == 0 else len(arguments), "--debug")

    with pytest.raises(HeadstartError, match="There is no folder"):
        main(arguments)


# predict


def test_predict_shows_bars(run: Run, capsys) -> None:
    photo = Path(run.config.data) / "grass/01.jpg"

    out = _done(capsys, "predict", run.folder, photo, "--top", "2")

    assert str(photo) in out
    assert out.count("%") == 2
    assert "█" in out
    assert re.search(r"01\.jpg\s+unlike \d\.\d\d", out)


def test_predict_a_folder_as_json(run: Run, capsys) -> None:
    found = json.loads(_done(capsys, "predict", run.folder, run.config.data, "--json"))

    assert len(found) == 24
    for photo in found:
        assert photo["classes"][0] == Path(photo["path"]).parent.name
        assert sum(photo["probabilities"]) == pytest.approx(1)
        assert photo["problem"] is None
        assert photo["is_unlike"] == (photo["unlike"] > 1)
    # All but the test photos are among what they are compared with.
    assert sum(photo["unlike"] < 0.05 for photo in found) >= 21


def test_predict_says_what_is_unlike_anything_in_training(run: Run, tmp_path: Path, capsys) -> None:
    noise, table = tmp_path / "noise.png", tmp_path / "p.csv"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(noise)
    photo = Path(run.config.data) / "sky/01.jpg"

    out = _done(capsys, "predict", run.folder, noise, photo, "--csv", table, "--top", "1")

    assert re.search(r"noise\.png\s+unlike anything in training \(\d\.\d\d\)", out)
    assert out.count("unlike anything") == 1
    with table.open(newline="") as lines:
        first, second = csv.DictReader(lines)
    assert (first["is_unlike"], second["is_unlike"]) == ("True", "False")
    assert float(first["unlike"]) > 1 > float(second["unlike"])


def test_a_classifier_that_cannot_tell_what_is_unlike_says_nothing_of_it(
    run: Run, tmp_path: Path, capsys
) -> None:
    """As those of earlier versions, which saved neither the key nor its tensor."""
    old, photo, table = tmp_path / "old", Path(run.config.data) / "sky/01.jpg", tmp_path / "p.csv"
    shutil.copytree(run.folder, old)
    description = json.loads((old / "classifier.json").read_text())
    del description["novelty"]
    (old / "classifier.json").write_text(json.dumps(description))

    out = _done(capsys, "predict", old, photo, "--csv", table)

    assert "unlike" not in out
    with table.open(newline="") as lines:
        assert {(row["unlike"], row["is_unlike"]) for row in csv.DictReader(lines)} == {("", "")}
    (found,) = json.loads(_done(capsys, "predict", old, photo, "--json"))
    assert found["unlike"] is found["is_unlike"] is None


def test_predict_into_a_table_and_a_figure(run: Run, tmp_path: Path, capsys) -> None:
    photos = sorted((Path(run.config.data) / "sky").iterdir())[:2]
    table, figure = tmp_path / "p.csv", tmp_path / "p.png"

    _done(capsys, "predict", run.folder, *photos, "--csv", table, "--figure", figure)

    assert figure.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["path"], row["rank"]) for row in rows] == [
        (str(photo), str(rank)) for photo in photos for rank in (1, 2, 3)
    ]
    assert rows[0]["class"] == rows[3]["class"] == "sky"


def test_a_photo_that_is_none_is_noted_among_others(run: Run, tmp_path: Path, capsys) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    photo = Path(run.config.data) / "sky/01.jpg"

    assert main(["predict", str(run.folder), str(broken), str(photo), "--json"]) == 0

    captured = capsys.readouterr()
    first, second = json.loads(captured.out)
    assert (first["classes"], second["problem"]) == ([], None)
    assert first["problem"]
    assert f"{broken}: " in captured.err


@pytest.mark.parametrize("there", [False, True])
def test_nothing_but_photos_that_are_none_is_a_failure(run: Run, tmp_path: Path, capsys, there: bool) -> None:
    broken = tmp_path / "broken.jpg"
    if there:
        broken.write_text("no image")

    assert main(["predict", str(run.folder), str(broken), "--figure", str(tmp_path / "p.png")]) == 2

    captured = capsys.readouterr()
    assert captured.err.startswith(f"note: {broken}: ")
    assert "Traceback" not in captured.err
    assert not (tmp_path / "p.png").exists()


# evaluate


def test_evaluate_in_words(run: Run, store: str, capsys) -> None:
    assert main(["evaluate", str(run.folder), run.config.data, "--store", store]) == 0

    captured = capsys.readouterr()
    n = run.result["test"]["n"]
    assert f"of {n} images right" in captured.out
    assert "sampling of the test set only" in captured.out
    assert "of them are unlike anything in training" in captured.out
    assert f"{24 - n} images are left out: this run was fitted on them" in captured.err


def test_evaluate_as_json_and_table(run: Run, store: str, tmp_path: Path, capsys) -> None:
    table = tmp_path / "p.csv"
    arguments = ["evaluate", run.folder, run.config.data, "--store", store, "--json", "--csv", table]

    scores = json.loads(_done(capsys, *arguments))

    assert scores["n"] == run.result["test"]["n"]
    assert scores["accuracy"] == run.result["test"]["accuracy"]
    assert scores["unlike"] == run.result["unlike"]["test_false_alarms"]
    with table.open(newline="") as lines:
        assert [row["path"] for row in csv.DictReader(lines)] == run.predictions()["path"].to_pylist()


# backbones


def test_backbones_are_listed(capsys) -> None:
    out = _done(capsys, "backbones")

    assert "tf_efficientnet_lite0" in out
    assert "here" in out


def test_a_part_of_a_name_lists_all_that_hold_it(capsys) -> None:
    overview = _done(capsys, "backbones")
    listed = _done(capsys, "backbones", "mobilenet_v3")

    assert "torchvision/squeezenet1_1" in overview
    assert "mobilenet" not in overview.partition("more of")[0]
    assert "torchvision/mobilenet_v3_large.imagenet1k_v1" in listed
    assert "resnet" not in listed
    assert "…" not in listed  # nothing is cut short, and no line padded, in a narrow terminal
    assert all(line == line.rstrip() for line in listed.splitlines())


def test_one_backbones_layers_are_listed(capsys) -> None:
    out = _done(capsys, "backbones", "tf_efficientnet_lite0")

    assert "= pooled" in out
    assert "1280" in out


def test_what_there_is_to_say_of_a_network_is_printed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    note = "It cannot be traced: x[/2] of [bold]"
    monkeypatch.setattr(Backbone, "note", note)

    assert note in _done(capsys, "backbones", "tf_efficientnet_lite0")


# cache


def test_cache_lists_verifies_repairs_and_prunes(run: Run, store: str, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    listed = _done(capsys, "cache", "list", "--store", copy)
    assert "tf_efficientnet_lite0" in listed
    assert _done(capsys, "cache", "--store", copy) == listed
    assert "1 shards, 24 sound rows" in _done(capsys, "cache", "verify", "--store", copy)

    (shard,) = copy.rglob("*.safetensors")
    damaged = bytearray(shard.read_bytes())
    damaged[-5] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(damaged)
    assert main(["cache", "verify", "--store", str(copy)]) == 1
    assert "headstart cache repair" in capsys.readouterr().out
    assert "repaired" in _done(capsys, "cache", "repair", "--store", copy)
    _done(capsys, "cache", "verify", "--store", copy)

    assert "removed 0 shards" in _done(capsys, "cache", "prune", "1G", "--store", copy)
    assert "removed" in _done(capsys, "cache", "prune", "0", "--store", copy)
    assert not list(copy.rglob("*.safetensors"))


# the program


def test_interrupted_is_130(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.jobs.train", interrupted)

    assert main(["train", str(tmp_path)]) == 130
    assert "is kept in the store" in capsys.readouterr().err


def test_help_loads_no_torch_and_is_a_program() -> None:
    script = "import runpy, sys; sys.argv = ['headstart', '--help']\n" + (
        "try:\n    runpy.run_module('headstart', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'timm', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("demo", "train", "predict", "evaluate", "backbones", "cache"):
        assert command in done.stdout


def test_the_programs_exit_code_is_mains(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headstart", "train", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("error: There is no folder")


@pytest.mark.parametrize("command", ["demo", "train", "predict", "evaluate", "backbones", "cache"])
def test_every_command_has_help(command: str, capsys) -> None:
    assert "Usage" in _done(capsys, command, "--help")


@pytest.mark.parametrize("flag", ["--backbone", "--model", "--model_name", "--model-name"])
def test_other_programs_names_of_the_backbone(
    photo_folder: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    for arguments in ([flag, "no_such_network"], [f"{flag}=no_such_network"]):
        assert main(["train", str(photo_folder), *arguments]) == 2
        assert "no backbone 'no_such_network'" in capsys.readouterr().err


def test_features_over_the_limit_are_refused_with_their_size(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(photo_folder), "--weights", "none", "--out", str(tmp_path / "run")]

    assert main([*arguments, "--layer", "bn1", "--max-store", "30M"]) == 2
    words = capsys.readouterr().err
    # 24 images of 32 x 112 x 112 float32
    assert "24 images" in words
    assert "38.5 MB" in words or "39 MB" in words
    assert "--max-store 1G" in words
