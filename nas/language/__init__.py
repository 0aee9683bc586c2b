"""The language of spaces and architectures: reading, checking, closing and counting trees.

`nas.space`, `nas.architecture`, `nas.resolve` and `nas.choosers` are what the rest of the engine uses of it.
"""
