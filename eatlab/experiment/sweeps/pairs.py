"""Every two rows of a table against each other, paired on clips, Holm's correction (evaluation.md 11.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from eatlab.metrics.protocols import METRICS
from eatlab.metrics.statistics import Interval, holm, word_of
from eatlab.metrics.table import Table

OPPOSITE = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Pair:
    """One row against another in a metric. difference: of means, first - second; p: after Holm."""

    first: str
    second: str
    metric: str
    difference: Interval
    p: float
    word: str

    def turned(self) -> Pair:
        """The same, seen from the other row."""
        found = self.difference
        turned = Interval(-found.mean, -found.high, -found.low)
        word = OPPOSITE.get(self.word, self.word)
        return Pair(self.second, self.first, self.metric, turned, self.p, word)


@dataclass(frozen=True)
class Pairs:
    """metric → (first, second) → pair, in both directions; rows: those compared; base: the one that verdicts
    are against.
    """

    rows: tuple[str, ...]
    base: str
    by_metric: Mapping[str, Mapping[tuple[str, str], Pair]]

    def word(self, metric: str, row: str, against: str = "") -> str:
        """better, worse or no difference shown, than the base if no row is named; empty where the two were
        not compared.
        """
        found = self.by_metric.get(metric, {}).get((row, against or self.base))
        return found.word if found else ""

    def best(self, metric: str, table: Table) -> list[str]:
        """Rows from the best mean to the worst."""
        rows = {row for pair in self.by_metric[metric] for row in pair}
        sign = -1 if METRICS[metric].better == "higher" else 1
        return sorted(rows, key=lambda row: sign * table.cells[row][metric].mean)


def pairs_of(table: Table, base: str = "frozen") -> Pairs:
    """The base and all adapters (or what was learned in their place), each two; p by Holm over all pairs of a
    metric: `Table.verdicts`.
    """
    others = [row for row in table.adapters if row != base]
    rows = ([base] if base in table.rows else []) + others
    found: dict[str, dict[tuple[str, str], Pair]] = {}
    for metric in table.protocol.ranked:
        compared = [c for a, b in combinations(rows, 2) for c in table.compare(b, a, metrics=(metric,))]
        made: dict[tuple[str, str], Pair] = {}
        for c, p in zip(compared, holm([c.p for c in compared]), strict=True):
            word = word_of(c.difference, p, METRICS[metric].better)
            pair = Pair(c.first, c.second, metric, c.difference, p, word)
            made[c.first, c.second] = pair
            made[c.second, c.first] = pair.turned()
        if made:
            found[metric] = made
    return Pairs(tuple(rows), base, found)
