"""Git, through the ``git`` command: the project's commit (tree), its submodules, and other repositories (remote)."""

from ci_plugin.git.tree import GitTree, open_source_tree

__all__ = ["GitTree", "open_source_tree"]
