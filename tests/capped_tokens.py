"""The loss of one token under clip 0.2/0.3 and a dual clip, by hand, for every engine."""

NEGATIVE, POSITIVE = -1.0, 1.0

# Dual clip, ratio, advantage: loss, and its slope along the log-prob of the token.
# The gain is min(ratio A, clip(ratio, 0.8, 1.3) A), and at least dual_clip A where A < 0.
CASES = [
    (3.0, 5.0, NEGATIVE, 3.0, 0.0),
    (None, 5.0, NEGATIVE, 5.0, 5.0),
    (3.0, 2.0, NEGATIVE, 2.0, 2.0),
    (3.0, 0.5, NEGATIVE, 0.8, 0.0),
    (3.0, 5.0, POSITIVE, -1.3, 0.0),
    (None, 5.0, POSITIVE, -1.3, 0.0),
    (3.0, 1.1, POSITIVE, -1.1, -1.1),
]
