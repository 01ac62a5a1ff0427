"""The paper, rebuilt and tested. Only `pipelines.study` imports this package."""
