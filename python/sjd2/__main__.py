"""`python -m sjd2` is `sjd2`; `accelerate launch -m sjd2 ...` starts it on many devices."""

from .cli import main

if __name__ == "__main__":
    main()
