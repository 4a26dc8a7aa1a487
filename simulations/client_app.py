"""The ClientApp that `flwr run .` starts: the demo's, which reads its task from the server's messages."""

from flwr_byzantine.demo.apps import client_app

app = client_app()
