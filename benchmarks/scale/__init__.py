"""What a large installation costs, and what grows with its history.

``python -m benchmarks.scale`` fills a PostgreSQL of its own with customers, chips and months of ledger, and measures
pages, the monitor, reports of usage and chip creation as the ledger grows to its full length.
"""
