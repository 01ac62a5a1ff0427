"""Fitting and hyperparameter search; knows no tracker."""
