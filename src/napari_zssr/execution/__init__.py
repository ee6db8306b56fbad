"""Runs to disk: their tasks, the executors of these, and the finished planes."""
