"""What work will take, before it starts.

Features of an encode, the predictor and its implementations, forecasts as distributions, the record of past jobs.
"""
