"""Scripts for developers: what the package has learned, measurements, pictures."""
