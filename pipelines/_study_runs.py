"""The runs of the study: all networks that are trained to learn something, not to be promoted."""

from contextlib import AbstractContextManager

from melanoma import tracking

EXPERIMENT = "melanoma-study"
PARENT = ("study", "paper")  # a tag and its value, by which the run of the whole study is found


def open_parent() -> AbstractContextManager[tracking.Run]:
    """The run under which all networks of the study are shown, whichever stage and cohort they are of."""
    tag, value = PARENT
    return tracking.open_run(
        experiment=EXPERIMENT,
        name="the paper, rebuilt",
        tags={tag: value, **tracking.lineage_tags()},
        run_id=tracking.find_run(EXPERIMENT, tag=tag, value=value),
    )
