"""How something can be encoded.

The one table of codecs, rungs and ladders, rate control, treatment of the source, and what a tier asks for. Not what
an encode costs, and not what one title gets.
"""
