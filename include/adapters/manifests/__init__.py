"""The manifests of a set: written from what the segments measure, read back strictly before anything is published.

The packager's media playlists and DASH manifest are kept and corrected; the HLS master playlist is ours, because the
packager's bit rates of I-frame playlists and its default tracks are not what RFC 8216 asks for.
"""
