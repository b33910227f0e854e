"""What to try: the request and its trials. May import `spaces` and `trainable`."""
