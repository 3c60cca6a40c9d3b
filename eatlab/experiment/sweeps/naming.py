"""Where names stand in a picture, so that they hide neither one another nor what they name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eatlab.adapters.registry import SUMS

NAME_LENGTH = 21
SMALL = 8.0
"""Type size of names within a picture, in points."""
LETTER = 0.66
"""Width of a letter at type size 1, on average and rather too wide."""

Box = tuple[float, float, float, float]  # left, bottom, right, top, in points
Spot = tuple[float, float]


def shown_as(spec: str) -> str:
    """A spec, known sums by their names, as in full+eat; a long one on several lines, parted at a plus."""
    for name, parts in SUMS.items():
        spec = spec.replace("+".join(parts), name)
    lines = [""]
    for number, part in enumerate(spec.split("+")):
        word = f"+{part}" if number else part
        if lines[-1] and len(lines[-1] + word) > NAME_LENGTH:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def size_of(words: str) -> tuple[float, float]:
    """Width and height in points, on its lines."""
    lines = words.split("\n")
    return LETTER * SMALL * max(map(len, lines)), 1.2 * SMALL * len(lines)


def parted_places(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Centres of labels of these heights, near the `wanted` ones and without overlap; both ascending.

    Labels that touch form a block, which is centred where its labels want to be on average, within 0…1.
    """
    blocks: list[tuple[float, list[float]]] = []  # sum of wanted bottoms, heights

    def bottom(total: float, block: list[float]) -> float:
        return max(0.0, min(total / len(block), 1 - sum(block)))

    for centre, height in zip(wanted, heights, strict=True):
        total, block = centre - height / 2, [height]
        while blocks and bottom(*blocks[-1]) + sum(blocks[-1][1]) > bottom(total, block):
            before, lower = blocks.pop()
            total, block = before + total - len(block) * sum(lower), lower + block
        blocks.append((total, block))
    places = []
    for total, block in blocks:
        low = bottom(total, block)
        places += [low + sum(block[:row]) + height / 2 for row, height in enumerate(block)]
    return places


@dataclass(frozen=True)
class Drawing:
    """A picture in points: the frame that names stay in, and boxes that they should not hide."""

    frame: Box
    boxes: list[Box]

    def hidden_by(self, *boxes: Box) -> float:
        """Area."""
        return sum(overlap(box, other) for box in boxes for other in self.near(boxes))

    def near(self, boxes: Sequence[Box]) -> list[Box]:
        """Those that boxes can touch."""
        if not boxes:
            return []
        left, bottom, right, top = zip(*boxes, strict=True)
        around = (min(left), min(bottom), max(right), max(top))
        return [other for other in self.boxes if overlap(around, other) > 0]


def freest(centre: Spot, radius: float, size: Spot, drawing: Drawing) -> Box:
    """The box of a name around its dot that, with its thread, hides least and stays in the frame.

    size: width and height of the name; all in points.
    """
    best, least = (0.0, 0.0, 0.0, 0.0), math.inf
    for distance, box in around(centre, radius, size):
        cost = distance + 50 * (size[0] * size[1] - overlap(box, drawing.frame))
        if cost < least and (cost := cost + 10 * drawing.hidden_by(box)) < least:
            cost += 4 * drawing.hidden_by(*thread_of(box, centre, radius))
        if cost < least:
            best, least = box, cost
    return best


def around(centre: Spot, radius: float, size: Spot) -> Iterator[tuple[float, Box]]:
    """Boxes at growing distances from a dot; those beside it are as if a little nearer."""
    width, height = size
    for distance in (1.5, 7.0, 14.0, 22.0, 32.0, 44.0, 58.0, 74.0):
        for turn in range(24):
            angle = 2 * math.pi * turn / 24
            x = centre[0] + math.cos(angle) * (radius + distance + width / 2)
            y = centre[1] + math.sin(angle) * (radius + distance + height / 2)
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            yield distance + 0.1 * (turn % 12 != 0), box


def thread_of(box: Box, centre: Spot, radius: float) -> list[Box]:
    """From the rim of a dot to its name; nothing if they are neighbours."""
    edge = (min(max(centre[0], box[0]), box[2]), min(max(centre[1], box[1]), box[3]))
    gap = math.dist(edge, centre)
    if gap < radius + 6:
        return []
    rim = tuple(c + (e - c) * radius / gap for c, e in zip(centre, edge, strict=True))
    return boxes_along((rim[0], rim[1]), edge)


def boxes_along(start: Spot, end: Spot) -> list[Box]:
    """Little boxes on a stroke."""
    count = max(1, round(math.dist(start, end) / 3))
    spots = [[a + (b - a) * n / count for a, b in zip(start, end, strict=True)] for n in range(count + 1)]
    return [(x - 1.5, y - 1.5, x + 1.5, y + 1.5) for x, y in spots]


def overlap(one: Box, other: Box) -> float:
    """Area in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
