"""Run as processes of their own: sweeps held, gated, faulty or killed, and a measurement."""
