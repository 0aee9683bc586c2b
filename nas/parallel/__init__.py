"""Data-parallel training: processes that each take a slice of every batch, and are one but for rounding."""
