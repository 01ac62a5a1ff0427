"""What happens after a model is served: its records, and what they say."""
