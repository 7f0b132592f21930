"""The names of the stores of pins and records: what ``--store``, ``STAGEPIN_STORE`` and ``store:`` may say."""

STORES = ("stages-storage", "git-ref", "generic-package", "ci-artifact", "workspace")
"""The first is the default."""
