"""Write docs/cuts.md: the cuts of the networks that people ask for, with what storing their features costs.

python benchmarks/cuts_table.py > docs/cuts.md
"""

from collections.abc import Callable, Mapping

from torch import nn
from torchvision import models

from headstart.backbones.cut import Cut
from headstart.backbones.cuts import CutNetwork, cut_network
from headstart.files import human_bytes

NO_AUX = {"aux_logits": False, "init_weights": False}
NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], int]] = {
    "alexnet": (models.alexnet, 224),
    "vgg16": (lambda: models.vgg16(init_weights=False), 224),
    "resnet50": (models.resnet50, 224),
    "densenet121": (models.densenet121, 224),
    "squeezenet1_1": (models.squeezenet1_1, 224),
    "inception_v3": (lambda: models.inception_v3(**NO_AUX), 299),
    "googlenet": (lambda: models.googlenet(**NO_AUX), 224),
}
# The field's names of VGG's and AlexNet's dense layers, after their ReLU.
DENSE = {
    "alexnet": {"fc6": "classifier.2", "fc7": "classifier.5"},
    "vgg16": {"fc6": "classifier.1", "fc7": "classifier.4"},
}
# Where a stage ends; elsewhere every layer that the tree shows.
STAGES = {
    "alexnet": ["features.2", "features.5", "features.12"],
    "vgg16": ["features.4", "features.9", "features.16", "features.23", "features.30"],
    "resnet50": ["maxpool", "layer1", "layer2", "layer3", "layer4"],
    "densenet121": [f"features.{part}" for n in (1, 2, 3) for part in (f"denseblock{n}", f"transition{n}")]
    + ["features.denseblock4"],
    "squeezenet1_1": [f"features.{n}" for n in (2, 3, 4, 6, 7, 9, 10, 11, 12)],
    "inception_v3": ["maxpool1", "maxpool2"]
    + [f"Mixed_{name}" for name in ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"]],
    "googlenet": ["maxpool1", "maxpool2"]
    + [f"inception{name}" for name in ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]],
}

HEADER = """# Cuts

Where these networks can be cut, and what storing one image's features there costs (float32). Written by
`python benchmarks/cuts_table.py`; `headstart backbones NAME` prints the same for any network, `--depth 9` all of it.

`--layer` takes the canonical name, a module's name, which means its last cut, or an alias. `NAME:mean` is the average
of a cut over its positions: it is computed beside the network, which does not go on from it.
"""


def rows(name: str, found: CutNetwork) -> list[tuple[str, Cut]]:
    """The stages and the aliases, from the pixels to the output: what to write for `--layer`, and the cut."""
    aliases = found.aliases | DENSE.get(name, {})
    cuts = {found.resolve(stage): stage for stage in STAGES[name]}
    cuts |= {cut: cuts.get(cut, cut.name) for cut in map(found.resolve, aliases.values())}
    order = list(found.cuts.values())
    return [(cuts[cut], cut) for cut in sorted(cuts, key=order.index)]


def table(name: str, found: CutNetwork, size: int) -> str:
    aliases = found.aliases | DENSE.get(name, {})
    count = sum(cut.goes_on for cut in found.cuts.values())
    lines = [f"## {name}", "", f"Input {size} pixels, {count} cuts; the stages:", ""]
    lines += ["| layer | canonical name | alias | features | an image | parameters before |"]
    lines += ["|---|---|---|---:|---:|---:|"]
    for layer, cut in rows(name, found):
        also = ", ".join(f"`{alias}`" for alias, of in aliases.items() if of == cut.name)
        shape = " x ".join(map(str, cut.shape))
        lines.append(
            f"| `{layer}` | `{cut.name}` | {also} | {shape} | {human_bytes(cut.bytes_per_image)} "
            f"| {cut.parameters / 1e6:.2f} M |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    print(HEADER)
    print(
        "\n".join(
            table(name, cut_network(build(), size=size), size) for name, (build, size) in NETWORKS.items()
        )
    )


if __name__ == "__main__":
    main()
