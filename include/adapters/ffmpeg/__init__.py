"""ffmpeg and ffprobe.

Command lines as pure functions, an option builder for each encoder, and the reading of their text.
"""
