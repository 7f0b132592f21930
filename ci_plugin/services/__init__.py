"""Use cases, many and small; they know ports, not libraries."""
