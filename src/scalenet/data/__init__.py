"""From labelled image files to batches on a device.

- ``readers``: which sources there are: bundled digits, a folder, an archive, files of many images;
- ``listing``, ``tars``: the image files of a folder or an archive, listed first, read when asked;
- ``folders``, ``tables``, ``arrow``, ``rows``: which class, split and group an image has: by its
  folders, by a table's row, by the row that it lies in;
- ``decoding``, ``pixels``: image files become arrays of bytes;
- ``splits``: train, select and test, each image by its own content;
- ``summary``, ``contact``: what was read is said and shown;
- ``images``: images on a device, reached by index, and the order of training;
- ``augmentation``, ``randaugment``: views of images.
"""
