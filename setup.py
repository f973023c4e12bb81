"""The part of the build that pyproject.toml cannot express: `config` is packed into the wheel as `router/defaults`."""

from __future__ import annotations

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["router*", "handlers*"]), "router.defaults"],
    package_dir={"router.defaults": "config"},
    package_data={
        "router": [
            "py.typed",
            "streams/scripts/*.lua",
            "console/templates/**/*.html",
            "console/static/**/*",
        ],
        "router.defaults": ["*.toml", "voice/*.xml", "schemas/*.json"],
        "handlers": ["py.typed", "scripts/*.lua"],
    },
)
