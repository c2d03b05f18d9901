"""Aliases: where any network's `last` and `pooled` layers are, found in its graph.

`last` is what goes into the final classifier, `pooled` the average over positions (for transformers what they
classify with). A source that knows its family better says so in the card.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn
from torch.nn import functional as F

from headstart.backbones.cut import MEAN, Cut
from headstart.backbones.operations import Operations

_POOLS = frozenset(("mean", torch.mean, F.adaptive_avg_pool2d))


class Aliases(Operations):
    """Finds the aliases of one network."""

    @cached_property
    def last(self) -> Cut | None:
        """What goes into the final classifier, before its dropout; None where that is not one tensor."""
        return self.last_cut_before(self.classifier)

    @cached_property
    def pooled(self) -> str | None:
        """The name of one vector an image: the network's own pooling, or else its last map's average."""
        if self.last is None:
            return None
        before = [*self.until(self.mode.traced.nodes[self.last.name]), self.last]
        maps = [i for i, cut in enumerate(before) if not cut.is_vector and not self._is_resampled(cut)]
        if not maps:
            return _as_vector(before[-1])
        last_map, after = before[maps[-1]], before[maps[-1] + 1 :]
        vector = self._pooling(last_map, [cut for cut in after if not self._is_resampled(cut)])
        return _as_vector(vector if vector is not None else last_map)

    def _pooling(self, last_map: Cut, after: Sequence[Cut]) -> Cut | None:
        """The map's average as the network makes it, with the norms behind it."""
        if not after or _is_dense(after[0], last_map):
            return None
        pools = [cut for cut in after if self._is_pool(cut)]
        if not pools and after[0].channels != last_map.channels:
            return None
        start = pools[-1] if pools else after[0]
        return self._through_norms(start, after[after.index(start) + 1 :])

    def _through_norms(self, start: Cut, after: Sequence[Cut]) -> Cut:
        found = start
        for cut in after:
            if cut.channels != found.channels or self._mixes_between(found, cut):
                break
            found = cut
        return found

    def _mixes_between(self, first: Cut, second: Cut) -> bool:
        live, nodes = self.mode.live, self.mode.traced.nodes
        between = live[live.index(nodes[first.name]) + 1 : live.index(nodes[second.name]) + 1]
        return any(self.mixes(node) for node in between)

    def _is_resampled(self, cut: Cut) -> bool:
        """Whether it is an adaptive pooling to more than one position, which repeats those of small images."""
        module = self.module(self.mode.traced.nodes[cut.name])
        return isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size not in {1, (1, 1)}

    def _is_pool(self, cut: Cut) -> bool:
        node = self.mode.traced.nodes[cut.name]
        return node.target in _POOLS or isinstance(self.module(node), nn.AdaptiveAvgPool2d)


def _is_dense(cut: Cut, source: Cut) -> bool:
    """Whether a vector is made by a dense layer over a whole map (a stride of two needs a map of two)."""
    return cut.channels != source.channels and max(source.shape[i] for i in source.positions) > 2


def _as_vector(cut: Cut) -> str:
    return cut.name if not cut.positions else cut.name + MEAN
