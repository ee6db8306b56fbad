"""The napari plugin: the only importer of napari, magicgui, qtpy and superqt."""
