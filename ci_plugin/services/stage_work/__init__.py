"""What is done in the engine for one stage, one file per kind of work."""
