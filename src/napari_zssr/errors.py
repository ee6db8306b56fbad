"""What can go wrong or was assumed, in one sentence a user can act on."""


class ZSSRError(Exception):
    """Base of all errors that napari-zssr raises on purpose."""


class InputError(ZSSRError, ValueError):
    """The image, a file or a setting cannot be used as given."""


class ComputeError(ZSSRError):
    """The computation failed (device, memory, disk) although the input was fine."""


class StorageError(ComputeError):
    """Results cannot be stored: the disk is full, or their folder is gone."""


class Cancelled(ZSSRError):
    """The run was stopped on request."""


class ImageWarning(UserWarning):
    """Something was assumed, chosen or converted when an image was read or written."""
