"""How fast and how good, against whom; `python -m benchmarks` runs what is here."""
