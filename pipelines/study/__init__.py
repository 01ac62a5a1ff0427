"""One script for each stage of the study, run by the graph in `dvc.yaml` of this folder."""
