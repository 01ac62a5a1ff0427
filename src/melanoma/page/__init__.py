"""One page with all results, for people who look and do not run anything."""
