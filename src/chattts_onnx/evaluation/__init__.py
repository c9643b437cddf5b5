"""Listening to what was spoken: speech recognition, error rates, benchmarks and calibration texts.

Nothing here is needed to speak. The recogniser comes with the extra ``eval``; a benchmark needs no extra.
"""
