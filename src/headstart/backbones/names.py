"""Names of backbones: what a name means, in one rule.

1. a short name (`SHORT_NAMES`): `resnet` is `torchvision/resnet50`;
2. a name as `headstart backbones` lists it: `tf_efficientnet_lite0`, `timm/vit_base_patch16_224.augreg_in21k`;
3. that name without the tag of default weights, or with it: `timm/resnet50`, `torchvision/alexnet.imagenet1k_v1`;
4. the same with `torchvision/` before it, and then with `timm/`: `resnet18`, `vit_tiny_patch16_224`.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

SHORT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "alexnet": "torchvision/alexnet",
        "vgg": "torchvision/vgg16",
        "resnet": "torchvision/resnet50",
        "squeezenet": "torchvision/squeezenet1_1",
        "densenet": "torchvision/densenet121",
        "inception": "torchvision/inception_v3",
        "googlenet": "torchvision/googlenet",
    }
)
"""The names that the field uses for a family, each with the one network that is meant."""

_LIBRARIES = ("torchvision/", "timm/")


def candidates(name: str) -> list[str]:
    """What a name may mean, the first that exists first."""
    if name in SHORT_NAMES:
        return [SHORT_NAMES[name]]
    return [name, *(f"{library}{name}" for library in _LIBRARIES)]


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to six names like an unknown one, with or without the library before them and the tag behind them."""
    listed = list(known)
    full = {short: each for short, each in SHORT_NAMES.items() if each in listed}
    for each in listed:
        short = each.rpartition("/")[2]
        for key in (each, each.partition(".")[0], short, short.partition(".")[0]):
            full.setdefault(key, each)
    close = get_close_matches(name, full, n=6, cutoff=0.3)
    return list(dict.fromkeys(full[each] for each in close))
