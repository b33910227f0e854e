"""What trains next and for how long: schedulers, seeds, Optuna. Imports nothing else of `sweep`."""
