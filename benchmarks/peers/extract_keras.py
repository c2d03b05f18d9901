"""Features by Keras on its torch backend: MobileNetV2 of keras.applications, random weights.

Photos come by ImageFolder and DataLoader, as Keras's guide for the torch backend has it: its own reader of folders
needs TensorFlow.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

from common import measure_extraction, run


def measure(job):
    import keras
    import numpy as np
    import torch
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    keras.utils.set_random_seed(0)
    if (layout := job["layout"]) is not None:
        keras.config.set_image_data_format(layout)
    first = layout == "channels_first"
    network = keras.applications.MobileNetV2(
        weights=None,
        include_top=False,
        pooling="avg",
        input_shape=(3, 224, 224) if first else (224, 224, 3),
    )
    squeeze = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )

    def channels_last(image):
        return squeeze(image).permute(1, 2, 0)

    def extract(folder):
        images = ImageFolder(folder, transform=squeeze if first else channels_last)
        loader = DataLoader(images, batch_size=32, num_workers=2)
        with torch.inference_mode():
            return network.predict(loader, verbose=0), np.array(images.targets)

    parameters = sum(int(np.prod(weight.shape)) for weight in network.weights)
    return {**measure_extraction(job, extract), "parameters": parameters}


if __name__ == "__main__":
    run(measure, ["torch", "torchvision", "keras"])
