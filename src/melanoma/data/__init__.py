"""Images and their records: readers, facts, checks, groups, splits, packed arrays."""
