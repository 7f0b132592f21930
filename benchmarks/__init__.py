"""The figures the project promises, measured as counts and ratios; ``python -m benchmarks`` prints them (docs/benchmarks.md)."""
