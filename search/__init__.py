"""The sweep: command line, Ray Tune, record, leaderboard."""
