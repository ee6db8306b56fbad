"""After a run: original beside result, the recipe in words, undo."""
