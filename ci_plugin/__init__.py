"""stagepin: pin every base image once per pipeline, build each stage once, deploy exactly what was built."""

__version__ = "0.1.0"
