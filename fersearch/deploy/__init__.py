"""What leaves the laboratory: model files, the runtimes that run them, what they cost there."""
