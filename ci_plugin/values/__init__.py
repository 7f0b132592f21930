"""Pure value types; standard library only. Parse once, then trust the type."""
