"""Test accuracy of the probe on several data sets with every network whose weights are at hand.

    python benchmarks/networks.py --data DIR [--weights DIR] [--networks NAME ...]

DIR holds one folder of photos a data set; the weights' folder holds the files named in `FILES`. Each network is used
with the preprocessing of its weights. Prints a table in Markdown: accuracies of the test images in percent.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from headstart.config import TrainConfig
from headstart.jobs import train


@dataclass(frozen=True, kw_only=True)
class Network:
    """A backbone, its weights file, and where timm has to be told of them, the folder's config.json."""

    backbone: str
    file: str | None = None
    folder_config: dict[str, object] | None = None


def mobilenet(architecture: str) -> dict[str, object]:
    """What timm's hub would say of the MobileNets that TensorFlow trained."""
    return {
        "architecture": architecture,
        "model_args": {"pad_type": "same"},
        "pretrained_cfg": {
            "input_size": [3, 224, 224],
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
    }


NETWORKS = {
    "efficientnet_lite0": Network(backbone="tf_efficientnet_lite0"),
    "squeezenet1_0": Network(backbone="squeezenet1_0", file="squeezenet1_0_deepcompression.safetensors"),
    "squeezenet1_1": Network(backbone="squeezenet1_1", file="squeezenet1_1.safetensors"),
    "mobilenetv1": Network(
        backbone="timm/mobilenetv1_100",
        file="mobilenetv1_100_tfqat.safetensors",
        folder_config=mobilenet("mobilenetv1_100"),
    ),
    "mobilenetv2": Network(
        backbone="timm/mobilenetv2_100",
        file="mobilenetv2_100_tf2ptq.safetensors",
        folder_config=mobilenet("mobilenetv2_100"),
    ),
}


def weights_of(network: Network, weights: Path, work: Path) -> str:
    """What `--weights` takes for the network."""
    if network.file is None:
        return "pretrained"
    file = (weights / network.file).resolve()
    if network.folder_config is None:
        return str(file)
    folder = work / f"{file.stem}-folder"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(network.folder_config))
    link = folder / "model.safetensors"
    if not link.exists():
        link.symlink_to(file)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    arguments = parser.parse_args()
    sets = sorted(path.name for path in arguments.data.iterdir() if path.is_dir())
    print(f"| network | {' | '.join(sets)} |\n|---|{'---|' * len(sets)}", flush=True)
    with tempfile.TemporaryDirectory() as work:
        for name in arguments.networks:
            network = NETWORKS[name]
            chosen = weights_of(network, arguments.weights, Path(work))
            figures = []
            for data in sets:
                config = TrainConfig(
                    str(arguments.data / data), recipe="probe", backbone=network.backbone, weights=chosen
                )
                run = train(config, out=Path(work) / f"{name}-{data}", store=Path(work) / "store")
                figures.append(f"{100 * run.result['test']['accuracy']:.1f}")
            print(f"| {name} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
