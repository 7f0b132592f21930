"""The client's side of a BuildKit build: what the engine asks of us while it builds."""
