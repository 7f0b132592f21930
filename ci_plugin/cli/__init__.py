"""The command ``stagepin``: arguments in, exit code out. The only floor that picks adapters."""
