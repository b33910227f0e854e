"""From a file or hub id to padded batches on the device. May import config, common."""
