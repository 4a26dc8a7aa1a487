"""A node's line to the SuperLink, without a SuperNode: each request is signed with its key."""

import time
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

HEARTBEAT = 30.0  # seconds


class Line:
    """A registered node that is online.

    Args:
        address: of the SuperLink, host and port.
        root: file of the certificate to trust.
        key: file of the node's private key.
    """

    def __init__(self, address, root, key):
        private = load_ssh_private_key(Path(key).read_bytes(), None)
        signing = [RuntimeVersionHttpInterceptor(component_name="SuperNode"), NodeAuthHttpInterceptor(private, private.public_key())]
        self.client = FleetHttpClient.from_server_address(address, False, str(root), signing)
        request = ActivateNodeRequest(public_key=public_key_to_bytes(private.public_key()), heartbeat_interval=HEARTBEAT)
        self.node = Node(node_id=self.client.ActivateNode(request).node_id)

    def close(self):
        """Go offline."""
        self.client.DeactivateNode(DeactivateNodeRequest(node_id=self.node.node_id))

    def beat(self):
        """Stay online."""
        self.client.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=HEARTBEAT))

    def pull(self):
        """The next message for this node, or None."""
        found = self.client.PullMessages(PullMessagesRequest(node=self.node))
        if not found.messages_list:
            return None
        run, tree = found.messages_list[0].metadata.run_id, found.message_object_trees[0]
        contents = {each.object_id: self._object(run, each.object_id) for each in iterate_object_tree(tree)}
        self.client.ConfirmMessageReceived(ConfirmMessageReceivedRequest(node=self.node, run_id=run, message_object_id=tree.object_id))
        message = inflate_object_from_contents(tree.object_id, contents)
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def _object(self, run, key):
        while True:
            found = self.client.PullObject(PullObjectRequest(node=self.node, run_id=run, object_id=key))
            if found.object_available:
                return found.object_content
            time.sleep(0.1)

    def announce(self, message, reply, tree=None, **outer):
        """Say that `reply` answers `message`.

        Args:
            message: the message from the server.
            reply: a `Piece`.
            tree: the objects to announce, if not the reply's own.
            outer: metadata as the SuperLink reads them, by Flower's names.

        Returns:
            Requests that upload what the SuperLink does not have, one for each object.
        """
        letter = message_to_proto(Message(RecordDict(), reply_to=message))
        for name, value in {"message_id": reply.id, **outer}.items():
            setattr(letter.metadata, name, value)
        request = PushMessagesRequest(node=self.node, messages_list=[letter], message_object_trees=[tree or reply.tree()])
        answer = self.client.PushMessages(request)
        wanted, keys = set(answer.objects_to_push), {"run_id": letter.metadata.run_id, "session_id": answer.session_id}
        contents = {name: content for name, content in reply.contents().items() if name in wanted}
        return [PushObjectRequest(node=self.node, object_id=name, object_content=one, **keys) for name, one in contents.items()]

    def upload(self, request):
        """Upload one object."""
        self.client.PushObject(request)
