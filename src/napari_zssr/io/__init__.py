"""Image files: readers and writers."""
