"""What the commands return beside 0."""

FAILURES = 1  # trials failed for good, or the disk did
USER_ERROR = 2  # something given is unusable; nothing was changed
INTERRUPTED = 130  # can be resumed
