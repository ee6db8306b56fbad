"""The preview of a run, on a part of the image."""
