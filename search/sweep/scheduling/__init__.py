"""What trains next and for how long: schedulers, seeds, searcher."""
