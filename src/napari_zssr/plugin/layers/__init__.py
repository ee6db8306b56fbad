"""Between napari's layers and images with named axes."""
