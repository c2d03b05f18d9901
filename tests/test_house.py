"""The house rules that no tool checks: one home for each library, a lazy facade, a project that speaks of itself."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import headstart

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "headstart"

HOMES = {
    "timm": {"backbones"},
    "huggingface_hub": {"backbones"},
    "torchvision.models": {"backbones"},
    "torchvision.datasets": {"datasets"},
    "datasets": {"datasets"},
    "openvino": {"runtimes"},
    "cleanlab": {"audit"},
    "cyclopts": {"cli"},
    "rich": {"cli"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "plotly": {"report"},
    "pytorch_grad_cam": {"jobs"},
    "skimage": {"datasets"},
    "sqlite3": {"features"},
    "simplejpeg": {"images"},
    "urllib.request": {"download"},
    "platformdirs": {"files"},
    "psutil": {"training"},
    "tomli_w": {"config"},
}


def imported(source: str) -> set[str]:
    """Every module that a source imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def strangers(source: str, room: str) -> set[str]:
    """Libraries that a source in a room imports although their home is elsewhere."""
    modules = imported(source)
    return {
        library
        for library, homes in HOMES.items()
        if room not in homes and any(m == library or m.startswith(f"{library}.") for m in modules)
    }


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_library_has_one_home(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert not strangers(path.read_text(), room)


def test_a_stranger_is_seen() -> None:
    assert strangers("def f():\n    from timm.models import resnet", "features") == {"timm"}
    assert strangers("import torchvision.models as m", "images") == {"torchvision.models"}
    assert strangers("from torchvision import models", "images") == {"torchvision.models"}
    assert not strangers("import timm", "backbones")


def test_everything_public_is_there_and_documented() -> None:
    assert sorted(headstart.__all__) == headstart.__all__
    assert set(headstart.__all__) == set(headstart._HOMES)
    for name in headstart.__all__:
        assert inspect.getdoc(getattr(headstart, name)), name
    with pytest.raises(AttributeError, match="no_such_name"):
        headstart.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import headstart",
        "import headstart.cli; assert headstart.cli.main(['train', '--help']) == 0",
        "import headstart.datasets, headstart.images, headstart.config",
    ],
)
def test_torch_is_loaded_only_when_it_is_needed(code: str) -> None:
    code = f"import sys; {code}; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0
    )


def test_the_project_names_no_machine_and_no_registry() -> None:
    forbidden = ["/" + "work/", "/" + "root/", "pypi" + ".org", "files.python" + "hosted"]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    files = [ROOT / name for name in listed.splitlines()] or list(SOURCE.rglob("*.py"))
    for path in files:
        if path.suffix in {".py", ".md", ".toml", ".html", ""} and path.is_file():
            text = path.read_text(errors="ignore")
            assert not [word for word in forbidden if word in text], path
