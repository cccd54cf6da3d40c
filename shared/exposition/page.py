"""The page of metrics, in the text format of Prometheus or as OpenMetrics.

It is made in the event loop, a part at a time with a turn for calls in between, and at most once
in FRESH_SECONDS: a thread would contend with calls for the interpreter's lock instead.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from time import monotonic
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from shared.metrics.catalog import METRICS
from shared.metrics.instruments import Histogram, Metric, Sample, Source

FRESH_SECONDS = 1.0
# A histogram takes a line for each bucket: to write these takes a millisecond.
AT_ONCE = 5
# Each part that an encoder of OpenMetrics writes ends with it, and the page is to do so once.
END = b"# EOF\n"
FAMILIES: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Page:
    """What these sources say."""

    def __init__(self, sources: Sequence[Source], fresh_seconds: float = FRESH_SECONDS) -> None:
        """A page is given again for `fresh_seconds`."""
        self._sources = sources
        self._fresh_seconds = fresh_seconds
        self._process = ProcessCollector(registry=None)
        self._kept: dict[str, tuple[float, bytes]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def text(self, accept: str) -> tuple[str, bytes]:
        """The type and text of the page, for the value of an Accept header."""
        encode, kind = choose_encoder(accept)
        async with self._one_at_a_time:
            made_at, text = self._kept.get(kind, (-self._fresh_seconds, b""))
            if monotonic() - made_at >= self._fresh_seconds:
                text = await self._made(encode)
                self._kept = {kind: (monotonic(), text)}
        return kind, text

    async def _made(self, encode: Any) -> bytes:
        samples = [sample for source in self._sources for sample in await source()]
        parts, ends, name = [], b"", ""
        for family in chain(_families(samples), self._process.collect()):
            part: bytes = encode(_Alone(family))
            ends = END if part.endswith(END) else b""
            # Its name, type and meaning are said once.
            part = part.split(b"\n", 2)[2] if family.name == name else part
            parts.append(part.removesuffix(END))
            name = family.name
            await asyncio.sleep(0)
        return b"".join(parts) + ends


class _Alone(Collector):
    """A registry with one family."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Family]:
        return [self._family]


def _families(samples: Iterable[Sample]) -> Iterator[Family]:
    """The samples by their metrics, in the order of the catalog, AT_ONCE of a metric at a time."""
    by_metric: dict[Metric, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_metric[sample.metric].append(sample)
    for metric in METRICS:
        found = by_metric[metric]
        for start in range(0, len(found), AT_ONCE):
            yield _family(metric, found[start : start + AT_ONCE])


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    family: Family = FAMILIES[metric.kind](metric.name, metric.meaning, labels=metric.labels)
    add: Any = family.add_metric  # type: ignore[attr-defined]
    for sample in samples:
        if isinstance(sample.value, Histogram):
            add(sample.labels, buckets=_buckets(sample.value), sum_value=sample.value.sum)
        else:
            add(sample.labels, sample.value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative, as they are published."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
