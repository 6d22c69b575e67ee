"""Pipelines: stages in YAML, on the same table and the same worker as every other task."""
