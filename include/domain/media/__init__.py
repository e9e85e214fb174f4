"""What a source is and shows.

Streams, analysis, reasons to refuse it, samples of it, languages, captions, frame rates. How a tool words it belongs
to the adapter that runs the tool.
"""
