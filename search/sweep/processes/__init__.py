"""Ray's processes and nodes, what they are sent, and the signals that end them. Imports no other
folder of `sweep`."""
