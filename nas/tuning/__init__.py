"""Tuning of a training recipe: what varies, the trainings, their schedulers, and what comes of them."""
