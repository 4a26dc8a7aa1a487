"""The ClientApp that `flwr run .` starts: that of every task, which reads its task from the server's messages."""

from flwr_byzantine.experiments.tasks.client import client_app

app = client_app()
