"""Relaxation: a space whose open choices are mixed by weights, instead of one network for each way to close them."""
