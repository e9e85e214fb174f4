"""From a rendition to the options of its encoder: one small file for each encoder, and the registry of all."""
