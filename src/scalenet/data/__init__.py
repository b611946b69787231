"""From labelled image files to batches on a device."""
