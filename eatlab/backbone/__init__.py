"""The talking head: portrait, speech and pose become keypoints K = R Kc + T + E, and those become frames (EAT, Section 3.1)."""
