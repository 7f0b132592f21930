"""Text → typed model: dialects, templates, Dockerfiles, settings. Reads through the bytes it is handed; asks no network and no engine."""
