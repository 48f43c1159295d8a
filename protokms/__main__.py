"""`python -m protokms` is the same as `protokms`."""

from protokms.cli import main

if __name__ == "__main__":
    main()
