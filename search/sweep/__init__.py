"""All that runs in Ray: tuner, resume, cluster, signals. May import results, record and plan."""
