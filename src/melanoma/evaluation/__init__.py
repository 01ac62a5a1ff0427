"""Metrics with intervals, operating point, figures and the promotion gate."""
