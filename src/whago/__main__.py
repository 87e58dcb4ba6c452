"""``python -m whago``."""

from whago.main.cli import main

if __name__ == "__main__":
    main()
