"""One short file per command; each is imported only when it runs."""
