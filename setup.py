"""Installs genlab, its experiments and its commands."""

from setuptools import find_packages, setup

setup(
    name="genlab",
    version="0.1.0",
    description="A JAX laboratory for generative AI and its scaling laws",
    python_requires=">=3.11",
    packages=find_packages(include=["genlab*", "experiments*", "launch*"]),
    package_data={"genlab.figures": ["*.jinja"]},
    install_requires=[
        "jax>=0.10,<0.12",
        "flax>=0.12,<0.14",
        "optax>=0.2.5,<0.4",
        "orbax-checkpoint>=0.12,<0.14",
        "diffrax>=0.7.2,<0.8",
        "tensorflow-datasets>=4.9.7,<5",
        "absl-py>=2,<3",
        "array_record>=0.7,<0.10",
        "pillow>=10",
        "tokenizers>=0.20,<1",
        "numpy>=2,<3",
        "pandas>=2.2,<4",
        "scipy>=1.13,<2",
        "scikit-learn>=1.5,<2",
        "matplotlib>=3.9,<4",
        "jinja2>=3.1,<4",
        "rich>=13.7,<16",
        "tensorboardX>=2.6,<3",
    ],
    extras_require={
        "cuda": ["jax[cuda12]"],
        "tpu": ["jax[tpu]"],
        "tfds": ["tensorflow-cpu"],
        "wandb": ["wandb"],
        "test": [
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.9",
            "import-linter>=2.3,<3",
            "autograd>=1.7,<2",
        ],
    },
)
