"""What a record shows: scores, intervals, tables. May import record and plan."""
