"""What was built: the build record (its rules) and the record file (its document)."""
