"""Training as in torchvision's reference script for classification: its transforms and its step, at equal settings.

The script is no part of the package, so its `train_one_epoch` is written out here: forward, cross-entropy, zero_grad,
backward, step, in eager float32.
"""

import time

from common import lite0, run


def measure(job):
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision.datasets.folder import default_loader
    from torchvision.transforms import v2

    prepare, places = job["preprocess"], {name: i for i, name in enumerate(job["classes"])}
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(prepare["size"], scale=(0.35, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize(prepare["mean"], prepare["std"]),
            v2.ToPureTensor(),
        ]
    )

    class Photos(torch.utils.data.Dataset):
        def __len__(self):
            return len(job["train"])

        def __getitem__(self, i):
            path, name = job["train"][i]
            return transform(default_loader(path)), places[name]

    batch = min(32, len(job["train"]))
    loader = DataLoader(Photos(), batch_size=batch, shuffle=True, num_workers=2, drop_last=True)
    network = lite0(job, num_classes=len(places)).train()
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, weight_decay=0.05)
    rates = []
    for _ in range(job["epochs"]):
        start = time.perf_counter()
        for image, target in loader:
            loss = criterion(network(image), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rates.append(len(loader) * batch / (time.perf_counter() - start))
    return {"rates": rates, "loss": loss.item()}


if __name__ == "__main__":
    run(measure, ["torch", "torchvision", "timm"])
