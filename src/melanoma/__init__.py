"""Dermoscopy images in, a checked, tuned, gated and served melanoma classifier out.

Research software, not a medical device.
"""
