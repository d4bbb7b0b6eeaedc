"""labkit: build a container engine, one Linux primitive at a time."""

__version__ = "0.1.0"
