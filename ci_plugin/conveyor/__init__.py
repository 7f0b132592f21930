"""What will be built: stages, their signatures, the plan. Pure functions of configuration, commit and pins (DESIGN.md §6)."""
