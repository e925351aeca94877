"""genlab: a JAX laboratory for generative AI and its scaling laws."""

__version__ = "0.1.0"
