"""Coverage-guided fuzzing of what strangers send: both wire protocols, both sides, and the counter file.

``python -m tests.fuzz --help``. The suite itself runs a bounded number of executions of each target.
"""
