"""Runs to disk: tasks, who does them, what is finished."""
