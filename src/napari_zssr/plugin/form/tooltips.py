"""What each field of the form means; shown as its tooltip."""

from __future__ import annotations

TOOLTIPS = {
    "layer": "The image layer to enlarge. Of a multiscale layer the finest level is "
    "taken.",
    "in_turn": "Enlarges every image layer selected in the layer list, one after the "
    "other, each learned on itself.",
    "axes": "One letter for each axis, since the layer does not name them: T time, C "
    "channel, Z depth, Y and X. Correct them if the guess is wrong.",
    "spacing": "In micrometres, since the layer does not tell: one number for Y and "
    "X, or one for each of Z, Y and X. It is written to the layer, so that scale bar "
    "and saved files are right.",
    "factor_y": "How many times more pixels along this axis, fractions too. More "
    "pixels are not more resolution: 2 is usual, much more shows little more.",
    "factor_x": "How many times more pixels along this axis, fractions too. More "
    "pixels are not more resolution: 2 is usual, much more shows little more.",
    "linked": "Untick to enlarge Y and X differently, for pixels that are not square.",
    "slices": "The whole stack, or only the slice (time point, depth) that the "
    "sliders show now.",
    "area": "The whole plane, the part that the viewer shows now, or a rectangle that "
    "you drew in a Shapes layer.",
    "channel": "All channels, each learned on its own, or one of them.",
    "kernel": "How your microscope blurs: knowing it makes the result sharper. Give "
    "the objective, an image of beads, or let it be found in the image itself; "
    "bicubic is the usual assumption.",
    "modality": "A confocal microscope blurs less than a widefield one with the same "
    "objective.",
    "na": "Numerical aperture of the objective; it stands on it, as in 63x/1.4. "
    "Empty: as the image tells.",
    "wavelength_nm": "Wavelength of the light that was seen, in nanometres: about 520 "
    "for GFP. Empty: as the image tells.",
    "excitation_nm": "Wavelength of the laser, in nanometres. A small pinhole is "
    "assumed. Empty: as the image tells.",
    "index": "Refractive index between objective and sample: air 1, water 1.33, oil "
    "1.515. Empty: as the image tells.",
    "method": "Gaussian is quick and close. Vectorial is more exact above NA 1, takes "
    "some seconds, and needs the extra 'optics' of the installation.",
    "beads": "An image of small fluorescent beads, taken as yours was: a z-stack or "
    "one plane in focus.",
    "bead_file": "A file with the image of beads, one channel of one time.",
    "voxel": "How large a voxel of the beads is, in micrometres along Z, Y, X, since "
    "the image does not tell. It is written to the layer.",
    "sigma": "Standard deviation of the Gaussian in pixels of the enlarged image: one "
    "number, or Y,X, or Y,X,angle in degrees.",
    "kernel_file": "A .npy, .csv, .tif or .mat file with the blur, sampled in pixels "
    "of the enlarged image.",
    "blur_picture": "How one point is spread over the pixels of the result: the "
    "brighter, the more of its light. FWHM is its full width at half maximum, in "
    "pixels of the result (px). It is narrower than a point in your image, since the "
    "result, too, is seen through your microscope.",
    "noise": "Noise is estimated from the image, so that it is not sharpened with the "
    "structures. Ignore it only where there is none.",
    "noise_sigma": "Standard deviation of the noise as a fraction of the image's "
    "range, from 0 to 1.",
    "gain": "Electrons per count, from the camera's data sheet.",
    "offset": "Counts without light.",
    "read_noise": "Electrons, standard deviation.",
    "start": "What the networks know before training: what was learned from generated "
    "images (never from photographs), nothing, or what was saved after a run on a "
    "sister image. With 0 training steps they are used as they are.",
    "start_file": "A .safetensors file that 'Save networks' has written, of an image "
    "with as many channels or with one.",
    "steps": "How long each network trains at most. More steps take longer; training "
    "stops by itself when it no longer helps. Empty: as the preset.",
    "learned_steps": "How long each network trains at most where it begins from the "
    "learned start. 0 uses that as it is. Empty: as the preset.",
    "gradual": "Number of enlargements on the way to the factor. More of them can "
    "help and take longer. Empty: as the preset.",
    "back_projection": "Rounds that make the result, when shrunk again, agree with "
    "your image. 0 for none. It fades out by itself on noisy images. Empty: as the "
    "preset.",
    "strategy": "Of a stack, a channel is learned once from slices spread over it, "
    "which is better and much quicker than anew in every slice. By itself each slice "
    "is then trained on a little more.",
    "ensemble": "Enlarges flipped and rotated copies and takes their median: "
    "steadier, and up to eight times slower.",
    "seed": "The same seed gives the same pixels; another one shows how much the "
    "result depends on chance.",
    "device": "Where to compute: auto takes a graphics card if there is one.",
    "precision": "bfloat16 is faster on recent hardware; float32 is the most exact.",
    "nonfinite": "What to do with NaN and infinite pixels: refuse the image, or fill "
    "them from their neighbours.",
    "dtype": "Whole numbers cannot hold fractions of a count. By itself the result "
    "has the image's type, but float32 where the image holds so few counts that "
    "rounding would lose more than 0.5 % of its intensity.",
    "always": "What you get where learning gained nothing over bicubic on regions "
    "held out from training.",
    "where": "Held in memory until you save it, or written to a file slice by slice: "
    "for what is larger than memory, and for runs that shall go on where they were "
    "stopped.",
    "file": "Where the result is written. An .ome.zarr can be looked at in all sizes "
    "while it grows; an .ome.tif is put together at the end.",
    "overwrite": "Replaces the file that is there, and begins anew what was begun "
    "with other settings.",
    "share": "Left of the line is plain bicubic enlargement, right of it what was "
    "learned.",
}
