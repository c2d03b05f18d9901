"""Features by thingsvision: its data set and loader, and the layer before the classifier by its hooks."""

import tempfile

from common import labels_of, lite0, measure_extraction, run, usual_transform


def measure(job):
    from thingsvision import get_extractor_from_model
    from thingsvision.utils.data import DataLoader, ImageDataset

    extractor = get_extractor_from_model(model=lite0(job).eval(), device="cpu", backend="pt")

    def extract(folder):
        with tempfile.TemporaryDirectory() as order:
            images = ImageDataset(root=folder, out_path=order, backend="pt", transforms=usual_transform(job))
        loader = DataLoader(dataset=images, batch_size=32, backend="pt")
        rows = extractor.extract_features(batches=loader, module_name="global_pool", flatten_acts=True)
        return rows, labels_of(folder)

    return measure_extraction(job, extract)


if __name__ == "__main__":
    run(measure, ["torch", "torchvision", "timm", "thingsvision", "tensorflow"])
