"""MEAD (Wang et al., 2020): acted clips filed by person, view, emotion and level."""
