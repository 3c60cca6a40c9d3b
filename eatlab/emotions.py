"""The eight emotions of EAT: their order (the label index everywhere) and the neutral one (data.md 1.1)."""

EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
NEUTRAL = EMOTIONS.index("neutral")
