"""What a simulation found: how often a statistical rule keeps its promise where the truth is known."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of the table of simulations.

    Attributes:
        rule: The rule and what is counted, for instance `AUC: coverage of the 95 % interval`.
        truth: The simulated truth, for instance `0.99, 98 malignant groups of 1 to 6 images`.
        nominal: What the rule promises, for instance `0.95`.
        before: What the rule in use before gives on the same draws.
        after: What the rule of this project gives.
    """

    rule: str
    truth: str
    nominal: str
    before: str
    after: str
