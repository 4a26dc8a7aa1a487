"""`python -m flwr_byzantine` is the command `flwr-byzantine`."""

from flwr_byzantine.experiments.cli import main

if __name__ == "__main__":
    main()
