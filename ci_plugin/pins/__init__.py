"""What was decided for a scope: the pin set (its rules) and the pin file (its document)."""
