"""A page on this machine that runs a model on pictures and the webcam."""
