"""The talking head: portrait, speech, pose → keypoints K = R Kc + T + E → frames (EAT, Eq. 1)."""
