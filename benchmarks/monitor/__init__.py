"""What the clocks cost on a large installation, and whether a longer history makes them slower.

``python -m benchmarks.monitor`` fills a PostgreSQL of its own and writes ``results.md`` beside this file.
"""
