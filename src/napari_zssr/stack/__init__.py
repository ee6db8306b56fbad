"""Many planes: which, in which order, in how much memory, and where to."""
