"""Data sets, each a module with `load(data_dir, *, image_size, channels, source, target, ...) -> Pairs`."""
