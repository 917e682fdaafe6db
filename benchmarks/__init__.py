"""What fersearch costs and what it saves: ``python -m benchmarks NAME``, see docs/benchmarks.md."""
