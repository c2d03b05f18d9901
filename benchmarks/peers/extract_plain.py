"""Features by the ordinary PyTorch script: ImageFolder, Pillow, DataLoader, the network in eager mode.

`variant` is `ordinary` (contiguous float32, as tutorials have it), `tuned` (channels_last and inference mode; the
settings of the allocator come with the environment) or `tuned-bf16` (the same under bfloat16 autocast).
"""

from common import lite0, measure_extraction, run, usual_transform


def measure(job):
    import numpy as np
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    tuned, bf16 = job["variant"] != "ordinary", job["variant"] == "tuned-bf16"
    layout = torch.channels_last if tuned else torch.contiguous_format
    network = lite0(job, num_classes=0).eval().to(memory_format=layout)

    def extract(folder):
        images = ImageFolder(folder, transform=usual_transform(job))
        loader = DataLoader(images, batch_size=32, num_workers=2)
        rows, labels = [], []
        with (
            torch.inference_mode() if tuned else torch.no_grad(),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
        ):
            for batch, targets in loader:
                rows.append(network(batch.contiguous(memory_format=layout)).float().numpy())
                labels.append(targets.numpy())
        return np.concatenate(rows), np.concatenate(labels)

    return measure_extraction(job, extract)


if __name__ == "__main__":
    run(measure, ["torch", "torchvision", "timm"])
