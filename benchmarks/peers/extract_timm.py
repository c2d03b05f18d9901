"""Features as timm's documentation takes them: its data set, loader and transform, a network without classifier."""

from common import lite0, measure_extraction, run


def measure(job):
    import numpy as np
    import torch
    from timm.data import create_dataset, create_loader, resolve_data_config

    network = lite0(job, num_classes=0).eval()
    config = resolve_data_config({}, model=network)

    def extract(folder):
        loader = create_loader(
            create_dataset("", root=folder),
            input_size=config["input_size"],
            batch_size=32,
            use_prefetcher=False,
            interpolation=config["interpolation"],
            mean=config["mean"],
            std=config["std"],
            crop_pct=config["crop_pct"],
            num_workers=2,
            device=torch.device("cpu"),
        )
        rows, labels = [], []
        with torch.inference_mode():
            for batch, targets in loader:
                rows.append(network(batch).numpy())
                labels.append(targets.numpy())
        return np.concatenate(rows), np.concatenate(labels)

    return measure_extraction(job, extract)


if __name__ == "__main__":
    run(measure, ["torch", "torchvision", "timm"])
