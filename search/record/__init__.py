"""A run on disk: plan, events, storage, its trials' names. May import plan."""
