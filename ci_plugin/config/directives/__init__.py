"""One module per family of directives: the table of its keys and the function that reads it."""
