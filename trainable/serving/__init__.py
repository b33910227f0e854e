"""An exported classifier as it runs in production: its forms, their making, their speed.

May import engine and below. A model in an ONNX form needs neither torch nor Ray.
"""
