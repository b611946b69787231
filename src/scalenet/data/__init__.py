"""From labelled image files to batches on a device.

- ``readers``: which sources there are (bundled digits, a folder, an archive) and what their folders
  mean: classes, and splits of the source's own;
- ``listing``: the image files of a folder or an archive, listed first, read when asked;
- ``decoding``: image files become arrays of bytes;
- ``splits``: train, select and test, stratified by class;
- ``images``: images on a device, reached by index, and the order of training;
- ``augmentation``, ``randaugment``: views of images.
"""
